//! Every rule with its reason.
