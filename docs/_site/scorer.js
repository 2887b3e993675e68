// Sphinx's scores, except that guides come before explanations and the reference.
var Scorer = {
  score: ([page, , , , score]) => (/^(explanation|reference)/.test(page) ? score - 1 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
