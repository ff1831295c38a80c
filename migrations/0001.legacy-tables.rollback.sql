-- Drops what carries this migration's mark and nothing else. Without CASCADE: what something else hangs on is refused
-- (tables) or stays (types, uuid_generate_v4()).
DO $$
DECLARE
    mark constant text := 'Created by 0001.legacy-tables';
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['node_requests', 'user_nodes', 'users'] LOOP
        IF obj_description(to_regclass(name), 'pg_class') = mark THEN
            EXECUTE format('DROP TABLE %I', name);
        END IF;
    END LOOP;
    -- Indexes that were missing on a table that existed.
    FOREACH name IN ARRAY ARRAY['idx_user_nodes_user_id', 'idx_node_requests_user_id', 'idx_node_requests_status'] LOOP
        IF obj_description(to_regclass(name), 'pg_class') = mark THEN
            EXECUTE format('DROP INDEX %I', name);
        END IF;
    END LOOP;
    FOREACH name IN ARRAY ARRAY[
        'node_requests_status_enum', 'node_requests_gpu_type_enum', 'users_provider_enum', 'users_role_enum'
    ] LOOP
        BEGIN
            IF obj_description(to_regtype(name), 'pg_type') = mark THEN
                EXECUTE format('DROP TYPE %I', name);
            END IF;
        EXCEPTION WHEN dependent_objects_still_exist THEN
            RAISE WARNING 'type % stays: something else uses it', name;
        END;
    END LOOP;
    BEGIN
        IF obj_description(to_regprocedure('uuid_generate_v4()'), 'pg_proc') = mark THEN
            DROP FUNCTION uuid_generate_v4();
        ELSIF EXISTS (
            SELECT FROM pg_extension WHERE extname = 'uuid-ossp' AND obj_description(oid, 'pg_extension') = mark
        ) THEN
            DROP EXTENSION "uuid-ossp";
        END IF;
    EXCEPTION WHEN dependent_objects_still_exist THEN
        RAISE WARNING 'uuid_generate_v4() stays: something else uses it';
    END;
END $$;
