# What the R adapters share: arguments, clock, memory, repeats, the line of JSON.

# Seconds, to a microsecond or so: proc.time() counts milliseconds.
clock <- function() as.numeric(Sys.time())

named_arguments <- function() {
  pairs <- regmatches(commandArgs(TRUE), regexpr("=", commandArgs(TRUE)), invert = TRUE)
  stats::setNames(lapply(pairs, `[`, 2), vapply(pairs, `[`, "", 1))
}

json_value <- function(value) {
  if (is.character(value)) {
    return(encodeString(value, quote = "\""))
  }
  text <- ifelse(is.finite(value), format(value, digits = 17, trim = TRUE), "null")
  if (length(text) == 1) text else paste0("[", paste(text, collapse = ", "), "]")
}

print_json <- function(entries, lists = c("seconds", "numbers")) {
  text <- vapply(entries, json_value, "")
  single <- names(entries) %in% lists & lengths(entries) == 1
  text[single] <- paste0("[", text[single], "]")
  cat(sprintf("{%s}\n", paste0("\"", names(entries), "\": ", text, collapse = ", ")))
}

# Resident memory in MB; NA where the system does not say.
memory_mb <- function(key) {
  if (!file.exists("/proc/self/status")) {
    return(NA_real_)
  }
  line <- grep(paste0("^", key, ":"), readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

reset_peak <- function() {
  try(suppressWarnings(writeLines("5", "/proc/self/clear_refs")), silent = TRUE)
}

read_data <- function(file, factors) {
  header <- strsplit(readLines(file, 1), ",")[[1]]
  types <- ifelse(header %in% factors, "factor", "numeric")
  utils::read.csv(file, colClasses = types, check.names = FALSE)
}

time_repeats <- function(fit, repeats, budget) {
  begin <- clock()
  result <- fit()
  first <- clock() - begin
  seconds <- numeric()
  longest <- first
  while (length(seconds) < repeats && clock() - begin + longest <= budget) {
    result <- NULL # two results at once would count twice in the peak of memory
    gc(FALSE)
    start <- clock()
    result <- fit()
    seconds <- c(seconds, clock() - start)
    longest <- stats::median(seconds)
  }
  list(seconds = if (length(seconds)) seconds else first, first = first, result = result)
}

# Whether a package is there; prints that it is not.
is_there <- function(package, arguments) {
  there <- suppressPackageStartupMessages(requireNamespace(package, quietly = TRUE))
  if (!there) {
    reason <- paste("cannot be loaded: R has no package", package)
    print_json(list(library = package, problem = arguments$problem, skipped = reason))
  }
  there
}

# Times a fit and prints what it found; `found` gives criterion, evaluations and note of a result.
measure <- function(package, arguments, fit, found) {
  if (!is_there(package, arguments)) {
    return(invisible())
  }
  version <- utils::packageDescription(package)$Version
  head <- list(library = package, problem = arguments$problem, version = version)
  gc(FALSE)
  reset_peak()
  before <- memory_mb("VmRSS")
  timed <- time_repeats(fit, as.integer(arguments$repeats), as.numeric(arguments$budget))
  print_json(c(head, list(
    seconds = timed$seconds,
    first_seconds = timed$first,
    memory_before_mb = before,
    memory_peak_mb = memory_mb("VmHWM")
  ), found(timed$result)))
}
