# lme4 on one problem; arguments are NAME=VALUE:
#   Rscript bench_lme4.R problem=NAME formula=FORMULA data=FILE factors=A,B method=REML
#                        repeats=5 budget=60
# Prints one line of JSON with the entries of benchmarks/adapter.py.

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
source(file.path(dirname(script), "common.R"))

main <- function() {
  arguments <- named_arguments()
  data <- read_data(arguments$data, strsplit(arguments$factors, ",")[[1]])
  fit <- function() {
    formula <- stats::as.formula(arguments$formula)
    model <- suppressMessages(suppressWarnings(
      lme4::lmer(formula, data, REML = arguments$method == "REML")
    ))
    stopifnot(!anyNA(lme4::fixef(model)))
    model
  }
  found <- function(model) {
    list(
      criterion = -2 * as.numeric(stats::logLik(model)),
      evaluations = model@optinfo$feval,
      note = if (lme4::isSingular(model)) "singular" else ""
    )
  }
  measure("lme4", arguments, fit, found)
}

main()
