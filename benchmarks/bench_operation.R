# An R package on one operation; arguments are NAME=VALUE:
#   Rscript bench_operation.R library=PACKAGE problem=NAME routine=ROUTINE option=OPTION data=FILE
#                             factors=A,B repeats=5 budget=60
# Prints one line of JSON with the entries of benchmarks/adapter.py; `numbers` are compared with
# those of benchmarks/operations.py.

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
source(file.path(dirname(script), "common.R"))

quietly <- function(value) suppressMessages(suppressWarnings(value))

sleepstudy_fit <- function(data) lme4::lmer(Reaction ~ Days + (Days | Subject), data)

# Each takes the data and an option to `run`, a function to be timed, and `numbers` of its result.
routines <- list(
  kenward_roger = function(data, option) {
    control <- lme4::lmerControl(optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-12))
    model <- lme4::lmer(y ~ x + f + (x | s) + (1 | i), data, control = control)
    p <- length(lme4::fixef(model))
    run <- function() {
      adjusted <- pbkrtest::vcovAdj(model)
      df <- vapply(seq_len(p), function(i) {
        pbkrtest::Lb_ddf(diag(p)[i, ], stats::vcov(model), adjusted)
      }, 0)
      list(adjusted = adjusted, df = df)
    }
    list(run = run, numbers = function(result) c(sqrt(diag(as.matrix(result$adjusted))), result$df))
  },
  bootstrap = function(data, option) {
    model <- sleepstudy_fit(data)
    estimates <- function(m) c(lme4::fixef(m), as.data.frame(lme4::VarCorr(m))$sdcor)
    list(
      run = function() quietly(lme4::bootMer(model, estimates, nsim = 1000, seed = 1)),
      numbers = function(result) numeric()
    )
  },
  profile = function(data, option) {
    model <- sleepstudy_fit(data)
    # Fixed effects, standard deviations, correlation, sigma.
    order <- c("(Intercept)", "Days", ".sig01", ".sig03", ".sig02", ".sigma")
    list(
      run = function() quietly(stats::confint(model, quiet = TRUE)),
      numbers = function(result) as.vector(t(result[order, ]))
    )
  },
  means = function(data, option) {
    list(
      run = function() metafor::rma(y, se^2, data = data, method = option),
      numbers = function(result) result$tau2
    )
  },
  proportions = function(data, option) {
    library(VGAM, quietly = TRUE, warn.conflicts = FALSE)
    list(
      run = function() quietly(vglm(cbind(y, n - y) ~ 1, betabinomial, data = data)),
      numbers = function(result) Coef(result)[["rho"]]
    )
  },
  variances = function(data, option) {
    covariate <- if (option == "trend") data$x
    list(
      run = function() {
        limma::squeezeVar(data$s2, data$df, covariate = covariate, robust = option == "robust")
      },
      numbers = function(result) result$var.post
    )
  }
)

main <- function() {
  arguments <- named_arguments()
  if (!is_there(arguments$library, arguments)) {
    return(invisible())
  }
  data <- read_data(arguments$data, strsplit(arguments$factors, ",")[[1]])
  routine <- quietly(routines[[arguments$routine]](data, arguments$option))
  found <- function(result) {
    list(
      criterion = NA_real_, evaluations = NA_real_, note = "",
      numbers = unname(routine$numbers(result))
    )
  }
  measure(arguments$library, arguments, routine$run, found)
}

main()
