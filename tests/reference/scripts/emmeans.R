# Marginal means, contrasts, trends and joint tests by emmeans with lmerTest's degrees of freedom.
# Run from tests/reference:  Rscript scripts/emmeans.R
# Slopes use a small step: the default one is a forward difference with three digits.
# Writes expected/emmeans.json: one entry a table, its columns as lists.
suppressMessages({library(lme4); library(lmerTest); library(emmeans); library(jsonlite)})
emm_options(lmer.df = "satterthwaite", msg.nesting = FALSE, msg.interaction = FALSE,
            lmerTest.limit = 1e5)

schema <- fromJSON("data/SCHEMA.json", simplifyVector = FALSE)
read <- function(name) {
  about <- schema[[name]]
  d <- read.csv(file.path("data", about$file), stringsAsFactors = FALSE, check.names = FALSE)
  for (column in names(about$columns)) {
    spec <- about$columns[[column]]
    if (spec$type == "factor") d[[column]] <- factor(as.character(d[[column]]), levels = unlist(spec$levels))
  }
  d
}
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))
out <- list()
keep <- function(name, object, ...) {
  frame <- if (inherits(object, "data.frame")) as.data.frame(unclass(object)) else as.data.frame(summary(object, ...))
  out[[name]] <<- lapply(frame, function(column) if (is.factor(column)) as.character(column) else column)
}

alfalfa <- read("alfalfa")
contrasts_of <- lmer(Yield ~ Date * Variety + (1 | Block / Variety), alfalfa, control = control)
dates <- emmeans(contrasts_of, ~ Date)
for (adjust in c("tukey", "mvt", "scheffe", "sidak", "bonferroni", "holm", "fdr", "none")) {
  keep(paste0("pairs_", adjust), pairs(dates, adjust = adjust), infer = c(TRUE, TRUE))
}
for (method in c("trt.vs.ctrl", "eff", "del.eff", "poly", "consec", "mean_chg", "revpairwise")) {
  keep(paste0("method_", method), contrast(dates, method, adjust = "none"), infer = c(TRUE, TRUE))
}
set.seed(1)
keep("dunnett", contrast(dates, "trt.vs.ctrl", adjust = "mvt"), infer = c(TRUE, TRUE))
keep("within", pairs(emmeans(contrasts_of, ~ Date | Variety)), infer = c(TRUE, TRUE))
cells <- emmeans(contrasts_of, ~ Date * Variety)
keep("cells", cells)
keep("interaction", contrast(cells, interaction = c("poly", "pairwise")), infer = c(TRUE, TRUE))
keep("joint", joint_tests(contrasts_of))
keep("joint_by", joint_tests(contrasts_of, by = "Variety"))

math <- read("mathachieve")
unbalanced <- lmer(MathAch ~ Minority * Sex + Sector + SES + (1 | School), math, control = control)
for (weights in c("equal", "proportional", "outer", "cells", "flat")) {
  keep(paste0("weights_", weights), emmeans(unbalanced, ~ Minority, weights = weights))
}
keep("at", emmeans(unbalanced, ~ Sex | Minority, at = list(SES = 1, Minority = "Yes", Sector = "Catholic")))
keep("joint_unbalanced", joint_tests(unbalanced))
math$late <- as.numeric(as.integer(as.character(math$School)) > 5000)
math$other <- math$SES > 0
two <- lmer(MathAch ~ late + other * Sex + SES + (1 | School), math, control = control)
keep("two_valued", emmeans(two, ~ Sex))
keep("two_valued_shown", emmeans(two, ~ late))
keep("logical", emmeans(two, ~ other | Sex))

sleep <- read("sleepstudy")
weighted <- lmer(Reaction ~ grp * factor(Days) + (1 | Subject), sleep, weights = w, control = control)
keep("prior_weights", emmeans(weighted, ~ grp, weights = "proportional"))
keep("prior_weights_cells", emmeans(weighted, ~ Days, weights = "cells"))
with_offset <- lmer(Reaction ~ Days + grp + offset(off) + (1 | Subject), sleep, control = control)
keep("offset", emmeans(with_offset, ~ grp))

machines <- read("machines")
logged <- lmer(log(score) ~ Machine + (1 | Worker), machines, control = control)
keep("log_response", emmeans(logged, ~ Machine), type = "response")
keep("log_ratios", pairs(emmeans(logged, ~ Machine)), type = "response", infer = c(TRUE, TRUE))
rooted <- lmer(sqrt(score) ~ Machine + (1 | Worker), machines, control = control)
keep("sqrt_response", emmeans(rooted, ~ Machine), type = "response")
logten <- lmer(log10(score + 10) ~ Machine + (1 | Worker), machines, control = control)
keep("log10_response", emmeans(logten, ~ Machine), type = "response")

body <- read("bodyweight")
curved <- lmer(weight ~ poly(Time, 2) * Diet + (1 | Rat), body, control = control)
keep("trend_diet", emtrends(curved, ~ Diet, var = "Time", delta.var = 1e-5))
keep("trend_at", emtrends(curved, ~ Time | Diet, var = "Time", delta.var = 1e-5, at = list(Time = c(1, 30, 60))))
keep("trend_pairs", pairs(emtrends(curved, ~ Diet, var = "Time", delta.var = 1e-5)), infer = c(TRUE, TRUE))
logtime <- lmer(weight ~ log(Time) * Diet + (1 | Rat), body, control = control)
keep("trend_log", emtrends(logtime, ~ Diet, var = "log(Time)", delta.var = 1e-5))
keep("joint_covariate", joint_tests(lmer(weight ~ Time * Diet + (1 | Rat), body, control = control)))

empty <- subset(alfalfa, !(Date == "S1" & Variety == "Ladak"))
holes <- lmer(Yield ~ Date * Variety + (1 | Block), empty, control = control)
keep("empty_cells", emmeans(holes, ~ Date * Variety))
keep("empty_margin", emmeans(holes, ~ Variety))
keep("empty_pairs", pairs(emmeans(holes, ~ Variety), adjust = "none"), infer = c(TRUE, TRUE))
keep("empty_joint", joint_tests(holes))

alfalfa$kind <- factor(paste0(substr(alfalfa$Variety, 1, 1), ifelse(alfalfa$Date == "None", 0, 1),
                              ifelse(alfalfa$Variety == "Ladak" & alfalfa$Date == "O7", "x", "")))
inside <- lmer(Yield ~ Variety / kind + (1 | Block), alfalfa, control = control)
keep("nested_outer", emmeans(inside, ~ Variety))
keep("nested_inner", emmeans(inside, ~ kind))
keep("nested_pairs", pairs(emmeans(inside, ~ kind | Variety)), infer = c(TRUE, TRUE))
keep("nested_joint", joint_tests(inside))

out$software <- list(R = R.version.string, emmeans = as.character(packageVersion("emmeans")),
                     lmerTest = as.character(packageVersion("lmerTest")))
write_json(out, "expected/emmeans.json", digits = I(12), auto_unbox = FALSE, na = "null")
