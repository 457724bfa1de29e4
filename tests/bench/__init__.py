"""`make bench`: how fast the product is beside what its vendors, its servers and plain code allow in the same run."""
