"""The demonstration: real records, two sandbox vendors, the product through its doors alone."""
