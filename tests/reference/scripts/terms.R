# Tests of terms by lmerTest on unbalanced data, with an empty cell and with other codings.
# Run from tests/reference:  Rscript scripts/terms.R
# The data are written too, so that no random numbers are needed to read them.
# Writes expected/terms.json: {data, tables: {MODEL: {TYPE_DDF: {row, num_df, den_df, F}}}}.
suppressMessages({library(lme4); library(lmerTest); library(jsonlite)})
set.seed(20250607)
n <- 120
d <- data.frame(
  a = factor(sample(c("p", "q", "r"), n, TRUE, c(.5, .3, .2))),
  b = factor(sample(c("u", "v", "w"), n, TRUE, c(.2, .5, .3))),
  x = round(rnorm(n), 3),
  g = factor(sample(sprintf("g%02d", 1:14), n, TRUE))
)
d$y <- round(as.integer(d$a) + .5 * d$x + .4 * as.integer(d$b) * (d$a == "q") + rnorm(14)[d$g] +
             .4 * rnorm(14)[d$g] * d$x + rnorm(n), 4)
holed <- !(d$a == "r" & d$b == "w")
cornered <- !(d$a == "p" & d$b == "u")
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))
models <- list(
  two_way = list("y ~ a * b + (1 | g)", rep(TRUE, n), NULL),
  two_way_sum = list("y ~ a * b + (1 | g)", rep(TRUE, n), list(a = "contr.sum", b = "contr.helmert")),
  covariate = list("y ~ a * x + b + (x | g)", rep(TRUE, n), NULL),
  three = list("y ~ a * b * x + (1 | g)", rep(TRUE, n), NULL),
  crossed_slopes = list("y ~ a:x + b + (1 | g)", rep(TRUE, n), NULL),
  no_intercept = list("y ~ 0 + a + a:b + x + (1 | g)", rep(TRUE, n), NULL),
  cubic = list("y ~ poly(x, 3) + a + (1 | g)", rep(TRUE, n), NULL),
  hole = list("y ~ a * b + x + (1 | g)", holed, NULL),
  corner = list("y ~ a * b + (1 | g)", cornered, NULL)
)
tables <- lapply(models, function(m) {
  used <- m[[2]]
  fit <- suppressMessages(suppressWarnings(
    lmer(as.formula(m[[1]]), d[used, ], contrasts = m[[3]], control = control)))
  out <- list()
  for (type in c("I", "II", "III")) for (ddf in c("Satterthwaite", "Kenward-Roger")) {
    t <- suppressMessages(anova(fit, type = type, ddf = ddf))
    out[[paste(type, ddf, sep = "_")]] <-
      list(row = I(rownames(t)), num_df = I(t$NumDF), den_df = I(t$DenDF), F = I(t$`F value`))
  }
  list(formula = m[[1]], used = I(which(used) - 1L), contrasts = m[[3]], logLik = as.numeric(logLik(fit)), tables = out)
})
write_json(list(data = lapply(d, function(c) if (is.factor(c)) as.character(c) else c), models = tables),
           "expected/terms.json", digits = 12, auto_unbox = TRUE)
