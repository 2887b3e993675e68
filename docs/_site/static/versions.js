// The list of versions: publish.py rewrites this file in each of them.
window.siteVersions = { current: "", all: [] };
