# One problem: Rscript bench_eb_means.R METHOD FILE; prints milliseconds and tau2 as JSON.
args <- commandArgs(trailingOnly = TRUE)
suppressMessages(library(metafor))
d <- read.csv(args[2])
call <- function() rma(y, se^2, data = d, method = args[1])
result <- call()
times <- replicate(3, system.time(call())[["elapsed"]])
cat(sprintf('{"ms": %.1f, "value": %.10g}', 1000 * min(times), result$tau2))
