# One problem: Rscript bench_eb_counts.R KIND FILE; prints milliseconds and a number as JSON.
args <- commandArgs(trailingOnly = TRUE)
d <- read.csv(args[2])
call <- if (args[1] == "beta-binomial") {
  suppressMessages(library(VGAM))
  function() vglm(cbind(y, n - y) ~ 1, betabinomial, data = d)
} else {
  suppressMessages(library(limma))
  covariate <- if (args[1] == "trend") d$x else NULL
  function() squeezeVar(d$s2, d$df, covariate = covariate, robust = args[1] == "robust")
}
result <- suppressWarnings(call())
times <- replicate(3, suppressWarnings(system.time(call())[["elapsed"]]))
value <- if (args[1] == "beta-binomial") Coef(result)[["rho"]] else sum(result$var.post)
cat(sprintf('{"ms": %.1f, "value": %.10g}', 1000 * min(times), value))
