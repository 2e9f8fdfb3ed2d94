package collection

// core is what all collections are built on.
type core struct{ home Home }
