-- The one rule by which exact amounts become GNK.
-- depends: 0010.create-roles

-- ngonka (1e-9 GNK) to GNK of eight places: numeric rounding, half away from zero, once, after summing. Multiplied, since a
-- quotient is cut to 16 digits before it is rounded. A sum that decimal(20,8) cannot hold, a thousand times all coins there
-- can ever be, becomes its greatest amount (the ledger has it whole): nonsense that is reported of one node must not
-- stop everybody's history.
CREATE OR REPLACE FUNCTION gnk_of_ngonka(ngonka numeric)
RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN ngonka IS NOT NULL THEN
        greatest(least(round(ngonka * 0.000000001, 8), 999999999999.99999999), -999999999999.99999999)
    END
$$;
