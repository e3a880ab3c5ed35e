//! Sequence encoders and mixtures of experts behind one trait, with the conformance kit every plug-in passes.
