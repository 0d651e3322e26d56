# Run in tests/reference: limma's moderated t on small sets, equal and unequal degrees of freedom,
# prior degrees of freedom finite and infinite.
suppressMessages({library(limma); library(jsonlite)}); set.seed(4); out <- list()
for (k in 1:4) {
  n <- c(30, 40, 40, 30)[k]; d <- if (k %% 2) rep(4, n) else sample(1:12, n, TRUE)
  s2 <- signif((if (k > 2) 1 else 1 / rgamma(n, 3, 3)) * rchisq(n, d) / d, 6)
  su <- round(runif(n, .3, 1), 3); x <- round(rnorm(n), 2)
  b <- round(rnorm(n) * su * sqrt(s2) + ifelse(runif(n) < .1, rnorm(n, 0, 3), 0), 4)
  cases <- list()
  for (tr in c(FALSE, TRUE)) for (rb in c(FALSE, TRUE)) {
    fit <- new("MArrayLM", list(coefficients = matrix(b), stdev.unscaled = matrix(su),
                                sigma = sqrt(s2), df.residual = d, Amean = x))
    e <- eBayes(fit, trend = tr, robust = rb)
    cases[[length(cases) + 1]] <- list(covariate = tr, robust = rb, t = signif(e$t[, 1], 12),
      p = signif(e$p.value[, 1], 12), log_odds = signif(e$lods[, 1], 12))
  }
  out[[k]] <- list(b = b, su = su, s2 = s2, df = d, x = x, cases = cases)
}
writeLines(toJSON(list(call = "limma::eBayes(fit, trend, robust)",
  limma = as.character(packageVersion("limma")), sets = out), digits = 15, auto_unbox = TRUE),
  "expected/moderated_t_small.json")
