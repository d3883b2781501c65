"""Readouts: from features to outputs, fitted in one solve, in a stream, online or as a classifier."""
