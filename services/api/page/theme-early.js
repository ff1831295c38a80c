// Runs before the first paint, so that a remembered theme does not flash. Not a module: those wait for the document.
try {
  const theme = localStorage.getItem("minegnk.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked: the system's theme it is.
}
