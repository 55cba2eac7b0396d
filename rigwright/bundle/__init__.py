"""Bundles: all that rigs without internet need, in one file, with the sum of each part."""
