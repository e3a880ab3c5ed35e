//! Harness that trains, measures and prints the accuracy and cost tables.
