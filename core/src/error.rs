//! What can be wrong with an input: small enums that name the index or the size that broke the rule.
