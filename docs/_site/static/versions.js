// Which versions lie side by side: publish.py writes this file anew into each of them.
window.siteVersions = { current: "", all: [] };
