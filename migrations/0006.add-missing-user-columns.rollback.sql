ALTER TABLE users
    DROP COLUMN IF EXISTS currency_preference,
    DROP COLUMN IF EXISTS discord,
    DROP COLUMN IF EXISTS telegram;
