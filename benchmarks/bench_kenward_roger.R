# pbkrtest's adjusted covariance and degrees of freedom; arguments are NAME=VALUE:
#   Rscript bench_kenward_roger.R data=FILE formula=FORMULA factors=A,B
# Prints one line of JSON: seconds of one run after the fit, standard errors, degrees of freedom.

pairs <- regmatches(commandArgs(TRUE), regexpr("=", commandArgs(TRUE)), invert = TRUE)
args <- stats::setNames(lapply(pairs, `[`, 2), vapply(pairs, `[`, "", 1))
suppressMessages({library(lme4); library(pbkrtest)})

frame <- read.csv(args$data)
for (name in strsplit(args$factors, ",")[[1]]) frame[[name]] <- factor(frame[[name]])
control <- lmerControl(optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-12))
fit <- lmer(as.formula(args$formula), frame, control = control)

start <- as.numeric(Sys.time())
adjusted <- vcovAdj(fit)
p <- length(fixef(fit))
df <- vapply(seq_len(p), function(i) Lb_ddf(diag(p)[i, ], vcov(fit), adjusted), 0)
seconds <- as.numeric(Sys.time()) - start

numbers <- function(x) paste0("[", paste(format(x, digits = 17, trim = TRUE), collapse = ", "), "]")
cat(sprintf(
  "{\"version\": \"pbkrtest %s\", \"seconds\": %.6f, \"se\": %s, \"df\": %s}\n",
  packageVersion("pbkrtest"), seconds, numbers(sqrt(diag(as.matrix(adjusted)))), numbers(df)
))
