"""The measures, one file each: KID, FID, Inception Score, precision and recall, nearest neighbours."""
