-- How to reach a user, and the currency they want to see.
-- depends: 0005.add-performance-indexes

ALTER TABLE users
    ADD COLUMN IF NOT EXISTS telegram varchar(100),
    ADD COLUMN IF NOT EXISTS discord varchar(100),
    ADD COLUMN IF NOT EXISTS currency_preference varchar(10) DEFAULT 'USD';
