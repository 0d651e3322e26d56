# Correlation matrices and standard deviations of nlme's residual structures at given values:
# Rscript structures.R   writes structures.json beside it.
library(nlme)
library(jsonlite)
d <- data.frame(
  g = factor(c("u", "v", "u", "v", "w", "u", "v", "w", "v", "u", "z", "z")),
  t = c(3, 1, 1, 2, 2, 6, 5, 4, 3, 2, 9, 7),
  k = c(3, 1, 1, 2, 2, 4, 4, 1, 3, 2, 4, 1),
  x = c(0.3, 1.1, 2.5, 0.7, 1.9, 3.2, 0.2, 2.2, 1.4, 0.9, 0.8, 1.7),
  y = c(1.5, 0.4, 2.1, 3.3, 0.6, 1.2, 2.7, 1.8, 0.1, 2.9, 0.5, 1.1),
  s = factor(c("b", "a", "b", "c", "a", "c", "b", "a", "c", "a", "b", "c")),
  r = factor(c("p", "q", "p", "p", "q", "q", "p", "q", "q", "q", "p", "p"))
)
o <- order(d$g)
cor <- list(
  "CorAR1(-0.4, form='~ t | g')" = corAR1(-0.4, form = ~ t | g),
  "CorAR1(0.6, form='~ 1 | g')" = corAR1(0.6, form = ~ 1 | g),
  "CorCAR1(0.3, form='~ x | g')" = corCAR1(0.3, form = ~ x | g),
  "CorARMA([0.5, -0.3], form='~ t | g', p=2)" = corARMA(c(0.5, -0.3), form = ~ t | g, p = 2),
  "CorARMA([0.5, -0.2, 0.3], form='~ t | g', p=2, q=1)" = corARMA(c(0.5, -0.2, 0.3), form = ~ t | g, p = 2, q = 1),
  "CorARMA([0.4, -0.3], form='~ 1 | g', q=2)" = corARMA(c(0.4, -0.3), form = ~ 1 | g, q = 2),
  "CorCompSymm(0.35, form='~ 1 | g')" = corCompSymm(0.35, form = ~ 1 | g),
  "CorSymm([0.5, 0.2, -0.1, 0.4, 0.1, 0.3], form='~ k | g')" = corSymm(c(0.5, 0.2, -0.1, 0.4, 0.1, 0.3), form = ~ k | g),
  "CorExp(1.3, form='~ x + y | g')" = corExp(1.3, form = ~ x + y | g),
  "CorExp([1.3, 0.2], form='~ x + y | g', nugget=True, metric='manhattan')" = corExp(c(1.3, 0.2), form = ~ x + y | g, nugget = TRUE, metric = "manhattan"),
  "CorGaus([1.3, 0.2], form='~ x + y | g', nugget=True, metric='maximum')" = corGaus(c(1.3, 0.2), form = ~ x + y | g, nugget = TRUE, metric = "maximum"),
  "CorLin([2.3, 0.2], form='~ x | g', nugget=True)" = corLin(c(2.3, 0.2), form = ~ x | g, nugget = TRUE),
  "CorRatio(1.3, form='~ x + y')" = corRatio(1.3, form = ~ x + y),
  "CorSpher([4, 0.2], form='~ x + y', nugget=True)" = corSpher(c(4, 0.2), form = ~ x + y, nugget = TRUE)
)
var <- list(
  "VarIdent({'a': 2.0, 'c': 0.5}, form='~ 1 | s')" = varIdent(c(a = 2, c = 0.5), form = ~ 1 | s),
  "VarIdent(1.5, form='~ 1 | s*r')" = varIdent(1.5, form = ~ 1 | s * r),
  "VarPower(0.7, form='~ x')" = varPower(0.7, form = ~ x),
  "VarPower({'a': 0.2, 'b': 0.5, 'c': -0.3}, form='~ x | s')" = varPower(c(a = 0.2, b = 0.5, c = -0.3), form = ~ x | s),
  "VarExp(0.4, form='~ x')" = varExp(0.4, form = ~ x),
  "VarConstPower(0.3, 0.8, form='~ x')" = varConstPower(0.3, 0.8, form = ~ x),
  "VarFixed('~ x')" = varFixed(~ x),
  "VarComb(VarIdent({'a': 2.0, 'c': 0.5}, form='~ 1 | s'), VarPower(0.7, form='~ x'))" =
    varComb(varIdent(c(a = 2, c = 0.5), form = ~ 1 | s), varPower(0.7, form = ~ x))
)
correlations <- lapply(cor, function(structure) {
  s <- Initialize(structure, d[o, ])
  m <- corMatrix(s)
  f <- corFactor(s)
  full <- matrix(0, nrow(d), nrow(d))
  if (is.list(m)) {
    for (g in levels(d$g)) full[d$g == g, d$g == g] <- m[[g]]
  } else full[o, o] <- m
  list(matrix = full, coef = unname(coef(s, unconstrained = FALSE)),
       unconstrained = unname(coef(s)), logDet = -2 * c(attr(f, "logDet")))
})
variances <- lapply(var, function(structure) {
  s <- Initialize(structure, d[o, ])
  if (length(coef(s))) coef(s) <- coef(s) # varConstPower sets its weights only then
  sd <- numeric(nrow(d))
  sd[o] <- 1 / varWeights(s)
  p <- coef(s, unconstrained = FALSE)
  list(sd = sd, coef = unname(p), names = as.list(names(p)), unconstrained = unname(coef(s)))
})
# nlme 3.1-162 and stats::ARMAacf disagree where 0 < p < q; the infinite moving average sides with stats.
acf <- list(
  "CorARMA([0.5, 0.3, -0.2], p=1, q=2)" = unname(ARMAacf(0.5, c(0.3, -0.2), 9)),
  "CorARMA([0.5, -0.2, 0.1, 0.3], p=3, q=1)" = unname(ARMAacf(c(0.5, -0.2, 0.1), 0.3, 9))
)
writeLines(toJSON(list(
  data = as.list(d), correlations = correlations, variances = variances, acf = acf,
  software = paste("R", getRversion(), "nlme", packageVersion("nlme"))
), digits = 17, auto_unbox = FALSE, pretty = TRUE), "structures.json")
