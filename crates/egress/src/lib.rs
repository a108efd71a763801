//! Canonical forms of outputs and the judge: pure, without decoder, network or clock.
