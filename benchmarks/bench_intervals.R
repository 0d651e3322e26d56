# lme4's bootMer and confint on one data set; arguments are NAME=VALUE:
#   Rscript bench_intervals.R data=FILE formula=FORMULA factors=A,B samples=200 repeats=3 test=0
# Prints one line of JSON: seconds of each repeat, and the limits found.

pairs <- regmatches(commandArgs(TRUE), regexpr("=", commandArgs(TRUE)), invert = TRUE)
args <- stats::setNames(lapply(pairs, `[`, 2), vapply(pairs, `[`, "", 1))
suppressMessages(library(lme4))

frame <- read.csv(args$data)
for (name in strsplit(args$factors, ",")[[1]]) frame[[name]] <- factor(frame[[name]])
fit <- lmer(as.formula(args$formula), frame)
samples <- as.integer(args$samples)
repeats <- as.integer(args$repeats)

timed <- function(run) {
  run() # warm up
  vapply(seq_len(repeats), function(i) {
    start <- as.numeric(Sys.time())
    run()
    as.numeric(Sys.time()) - start
  }, 0)
}

estimates <- function(m) c(fixef(m), as.data.frame(VarCorr(m))$sdcor)
quietly <- function(value) suppressMessages(suppressWarnings(value))
boot <- timed(function() quietly(bootMer(fit, estimates, nsim = samples, seed = 1)))
profile <- timed(function() quietly(confint(fit, quiet = TRUE)))
limits <- quietly(confint(fit, quiet = TRUE))

numbers <- function(x) paste0("[", paste(format(x, digits = 17, trim = TRUE), collapse = ", "), "]")
cat(sprintf(
  "{\"version\": \"lme4 %s\", \"boot\": %s, \"profile\": %s, \"lower\": %s, \"upper\": %s}\n",
  packageVersion("lme4"), numbers(boot), numbers(profile), numbers(limits[, 1]), numbers(limits[, 2])
))
