"""Speech to measure on: clips, speakers, words, conversions."""
