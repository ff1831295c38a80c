DROP TABLE IF EXISTS source_epoch_total;
