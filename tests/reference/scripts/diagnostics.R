# Deletion diagnostics by lme4, autocorrelation and semivariogram by nlme.
# Run from tests/reference:  Rscript scripts/diagnostics.R
# Writes expected/diagnostics.json.
suppressMessages({library(lme4); library(nlme); library(jsonlite)})

read <- function(name, factors) {
  d <- read.csv(file.path("data", paste0(name, ".csv")))
  for (f in factors) d[[f]] <- factor(d[[f]])
  d
}
sleep <- read("sleepstudy", "Subject")
penicillin <- read("penicillin", c("plate", "sample"))
pastes <- read("pastes", c("batch", "cask", "sample"))
bodyweight <- read("bodyweight", c("Rat", "Diet"))

tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))

deletion <- function(fit, group, data) {
  full <- fixef(fit)
  labels <- unique(as.character(data[[group]]))
  out <- lapply(labels, function(label) {
    kept <- data[as.character(data[[group]]) != label, ]
    other <- eval(substitute(update(fit, data = kept, control = tight), list(kept = kept)))
    list(level = label, fixef = unname(fixef(other)), vcov = unname(as.matrix(vcov(other))),
         sigma = sigma(other), sd = unname(as.data.frame(VarCorr(other))$sdcor))
  })
  db <- t(sapply(out, function(o) full - o$fixef))
  if (length(full) == 1) db <- t(db)
  V <- as.matrix(vcov(fit))
  list(levels = labels,
       fixef = t(sapply(out, `[[`, "fixef")),
       dfbetas = t(sapply(seq_along(out), function(i) db[i, ] / sqrt(diag(out[[i]]$vcov)))),
       cooks = apply(db, 1, function(d) drop(d %*% solve(V, d))) / length(full),
       covratio = sapply(out, function(o) det(o$vcov) / det(V)),
       sigma = sapply(out, `[[`, "sigma"))
}

res <- list(R = as.character(getRversion()), lme4 = as.character(packageVersion("lme4")),
            nlme = as.character(packageVersion("nlme")))

m <- lmer(Reaction ~ Days + (Days | Subject), sleep, control = tight)
inf <- influence(m, "Subject")
res$sleep <- c(list(hat = unname(hatvalues(m))), deletion(m, "Subject", sleep),
               list(lme4_dfbetas = unname(dfbetas(inf))))
m <- lmer(Reaction ~ Days + (Days | Subject), sleep, weights = w, control = tight)
res$sleep_weights <- list(hat = unname(hatvalues(m)))
m <- lmer(diameter ~ 1 + (1 | plate) + (1 | sample), penicillin, control = tight)
res$penicillin <- list(hat = unname(hatvalues(m)))
m <- lmer(strength ~ 1 + (1 | batch/cask), pastes, control = tight)
res$pastes <- list(hat = unname(hatvalues(m)))

control <- lmeControl(msTol = 1e-12, tolerance = 1e-12, msMaxIter = 500, maxIter = 500)
serial <- function(fit, ...) {
  a <- ACF(fit)
  v <- Variogram(fit, ...)
  list(lag = a$lag, acf = a$ACF, n_pairs = attr(a, "n.used"),
       dist = v$dist, variog = v$variog, variog_pairs = v$n.pairs)
}
m <- lme(Reaction ~ Days, sleep, ~ Days | Subject, control = control)
res$sleep_serial <- serial(m, form = ~ Days)
m <- lme(weight ~ Time * Diet, bodyweight, ~ 1 | Rat, control = control)
res$bodyweight_serial <- serial(m, form = ~ Time)
v <- Variogram(m, form = ~ Time, robust = TRUE)
res$bodyweight_serial$robust <- v$variog
v <- Variogram(m, form = ~ Time, nint = 6)
res$bodyweight_serial$six <- list(dist = v$dist, variog = v$variog, n_pairs = v$n.pairs)

write_json(res, "expected/diagnostics.json", digits = NA, auto_unbox = TRUE)
