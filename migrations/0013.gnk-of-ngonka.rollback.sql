DROP FUNCTION IF EXISTS gnk_of_ngonka(numeric);
