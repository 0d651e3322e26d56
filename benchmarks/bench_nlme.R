# nlme or glmmTMB on one problem with a residual structure; arguments are NAME=VALUE:
#   Rscript bench_nlme.R library=nlme problem=NAME call=CALL data=FILE factors=A,B
#                        repeats=5 budget=60
# CALL is R code in which `data` is the data. Prints one line of JSON with the entries of
# benchmarks/adapter.py.

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
source(file.path(dirname(script), "common.R"))

main <- function() {
  arguments <- named_arguments()
  package <- arguments$library
  data <- read_data(arguments$data, strsplit(arguments$factors, ",")[[1]])
  if (requireNamespace(package, quietly = TRUE)) {
    suppressPackageStartupMessages(library(package, character.only = TRUE))
  }
  fit <- function() {
    model <- eval(parse(text = arguments$call))
    stopifnot(!anyNA(unlist(fixed(model))))
    model
  }
  fixed <- function(model) if (inherits(model, "gls")) stats::coef(model) else fixef(model)
  found <- function(model) {
    list(
      criterion = -2 * as.numeric(stats::logLik(model)),
      evaluations = NA_real_,
      note = ""
    )
  }
  measure(package, arguments, fit, found)
}

main()
