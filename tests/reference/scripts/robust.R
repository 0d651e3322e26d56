# Cluster-robust covariances, their degrees of freedom and Hotelling tests by clubSandwich.
# Run from tests/reference:  Rscript scripts/robust.R
# Writes expected/robust.json.
suppressMessages({library(lme4); library(nlme); library(clubSandwich); library(jsonlite)})
schema <- fromJSON("data/SCHEMA.json", simplifyVector = FALSE)
read <- function(name) {
  about <- schema[[name]]
  d <- read.csv(file.path("data", about$file), stringsAsFactors = FALSE)
  for (column in names(about$columns)) {
    spec <- about$columns[[column]]
    if (spec$type == "factor") d[[column]] <- factor(as.character(d[[column]]), levels = unlist(spec$levels))
  }
  d
}
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))
sleep <- read("sleepstudy")[-c(3, 17, 18, 40, 41, 42, 43, 99, 170), ]
sleep$inverse <- 1 / sleep$w
math <- read("mathachieve")
math <- math[as.integer(math$School) <= 40, ]
math$School <- droplevels(math$School)
fits <- list(
  sleep = lmer(Reaction ~ Days + (Days | Subject), sleep, control = control),
  # clubSandwich takes prior weights from nlme only.
  sleep_weights = lme(Reaction ~ Days * grp, random = ~ 1 | Subject, data = sleep,
                      weights = varFixed(~ inverse), control = lmeControl(msTol = 1e-10)),
  math = lmer(MathAch ~ Sector * cSES + MEANSES + (cSES | School), math, control = control),
  alfalfa = lmer(Yield ~ Date * Variety + (1 | Block / Variety), read("alfalfa"), control = control),
  pastes = lmer(strength ~ 1 + (1 | batch / cask), read("pastes"), control = control)
)
teeth <- read("orthodont")
# nlme holds a formula of a correlation by name: fits are evaluated where their parts can be found.
fits$teeth_gls <- gls(distance ~ age * Sex, data = teeth, correlation = corAR1(form = ~ 1 | Subject),
                      weights = varIdent(form = ~ 1 | Sex), control = glsControl(msTol = 1e-10))
fits$teeth_lme <- lme(distance ~ age * Sex, random = ~ 1 | Subject, data = teeth,
                      correlation = corAR1(form = ~ 1 | Subject), control = lmeControl(msTol = 1e-10))
fits$teeth_slope <- lme(distance ~ age * Sex, random = ~ age | Subject, data = teeth,
                        weights = varIdent(form = ~ 1 | Sex), control = lmeControl(msTol = 1e-10))
clusters <- list(alfalfa = "Block", pastes = "batch")
fixed <- function(fit) if (inherits(fit, "gls")) coef(fit) else
  if (inherits(fit, "lme")) nlme::fixef(fit) else lme4::fixef(fit)
out <- lapply(names(fits), function(name) {
  fit <- fits[[name]]
  p <- length(fixed(fit))
  C <- diag(p)[seq_len(min(p, 2)) + (p > 2), , drop = FALSE]
  kinds <- lapply(c("CR0", "CR1", "CR2"), function(kind) {
    V <- if (is.null(clusters[[name]])) vcovCR(fit, type = kind) else
      vcovCR(fit, type = kind, cluster = model.frame(fit)[[clusters[[name]]]])
    test <- coef_test(fit, V, test = "Satterthwaite")
    joint <- if (nrow(C) > 1) Wald_test(fit, constraints = C, vcov = V, test = "HTZ")
    list(vcov = unname(as.matrix(V)), df = test[["df_Satt"]], p = test[["p_Satt"]],
         F = joint$Fstat, den_df = joint$df_denom)
  })
  c(setNames(kinds, c("CR0", "CR1", "CR2")), list(fixef = as.list(fixed(fit)), joint = unname(C)))
})
names(out) <- names(fits)
out$software <- list(R = R.version.string, clubSandwich = as.character(packageVersion("clubSandwich")),
                     lme4 = as.character(packageVersion("lme4")))
write_json(out, "expected/robust.json", digits = I(12), auto_unbox = TRUE)
