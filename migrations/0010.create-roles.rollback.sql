-- Takes back what the roles may do in this database. A role that a migration created goes too, unless another database or
-- another login user still uses it.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['minegnk_cache', 'minegnk_earnings', 'minegnk_api', 'minegnk_admin'] LOOP
        CONTINUE WHEN to_regrole(name) IS NULL;
        -- Column privileges go with those of the table.
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema(), name);
        IF EXISTS (
            SELECT FROM pg_namespace, aclexplode(nspacl) AS entry
            WHERE nspname = current_schema() AND entry.grantee = to_regrole(name)
        ) THEN
            EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', current_schema(), name);
        END IF;
        CONTINUE WHEN shobj_description(to_regrole(name), 'pg_authid') IS DISTINCT FROM 'Created by 0010.create-roles';
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_auth_members WHERE roleid = to_regrole(name) AND member <> current_user::regrole
        );
        BEGIN
            EXECUTE format('DROP ROLE %I', name);
        EXCEPTION
            WHEN dependent_objects_still_exist OR undefined_object THEN
                NULL; -- in use by another database, or dropped from there at this moment
            WHEN insufficient_privilege THEN
                RAISE WARNING 'role % stays: % may not drop it', name, current_user;
        END;
    END LOOP;
END $$;
