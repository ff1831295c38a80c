-- The three tables that a MineGNK database had before: what is missing is created, what exists is left as it is.
-- Everything created here carries the comment 'Created by 0001.legacy-tables', by which the rollback knows what it may
-- drop: a database that brought its own tables keeps them.

-- uuid_generate_v4() belongs to uuid-ossp. Some servers do not ship it, some users may not create it, and it may stand in
-- a schema outside the search path.
DO $$
BEGIN
    IF to_regprocedure('uuid_generate_v4()') IS NULL THEN
        BEGIN
            CREATE EXTENSION "uuid-ossp";
            COMMENT ON EXTENSION "uuid-ossp" IS 'Created by 0001.legacy-tables';
        EXCEPTION WHEN undefined_file OR feature_not_supported OR insufficient_privilege OR duplicate_object THEN
            CREATE FUNCTION uuid_generate_v4() RETURNS uuid
                LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT gen_random_uuid()';
            COMMENT ON FUNCTION uuid_generate_v4() IS 'Created by 0001.legacy-tables';
        END;
    END IF;
END $$;

DO $$
BEGIN
    IF to_regtype('users_role_enum') IS NULL THEN
        CREATE TYPE users_role_enum AS ENUM ('user', 'admin');
        COMMENT ON TYPE users_role_enum IS 'Created by 0001.legacy-tables';
    END IF;
    IF to_regtype('users_provider_enum') IS NULL THEN
        CREATE TYPE users_provider_enum AS ENUM ('local', 'google', 'github');
        COMMENT ON TYPE users_provider_enum IS 'Created by 0001.legacy-tables';
    END IF;
    IF to_regtype('node_requests_gpu_type_enum') IS NULL THEN
        CREATE TYPE node_requests_gpu_type_enum AS ENUM ('A100', 'H100', 'H200');
        COMMENT ON TYPE node_requests_gpu_type_enum IS 'Created by 0001.legacy-tables';
    END IF;
    IF to_regtype('node_requests_status_enum') IS NULL THEN
        CREATE TYPE node_requests_status_enum AS ENUM ('pending', 'approved', 'rejected', 'completed');
        COMMENT ON TYPE node_requests_status_enum IS 'Created by 0001.legacy-tables';
    END IF;
END $$;

DO $$
BEGIN
    IF to_regclass('users') IS NULL THEN
        CREATE TABLE users (
            id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
            email varchar(255) NOT NULL UNIQUE,
            password varchar(255),
            name varchar(255),
            role users_role_enum NOT NULL DEFAULT 'user',
            provider users_provider_enum NOT NULL DEFAULT 'local',
            "googleId" varchar(255) UNIQUE,
            "githubId" varchar(255) UNIQUE,
            "avatarUrl" varchar(255),
            "isActive" boolean NOT NULL DEFAULT true,
            "createdAt" timestamptz NOT NULL DEFAULT now(),
            "updatedAt" timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE users IS 'Created by 0001.legacy-tables';
    END IF;
    IF to_regclass('user_nodes') IS NULL THEN
        CREATE TABLE user_nodes (
            id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
            user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            node_address varchar(255) NOT NULL UNIQUE,
            label varchar(255),
            gpu_type varchar(50),
            gcore_instance_id varchar(255),
            notes text,
            is_active boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE user_nodes IS 'Created by 0001.legacy-tables';
    END IF;
    IF to_regclass('node_requests') IS NULL THEN
        CREATE TABLE node_requests (
            id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
            user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            gpu_type node_requests_gpu_type_enum,
            gpu_count integer NOT NULL DEFAULT 1,
            region varchar(255),
            message text,
            status node_requests_status_enum NOT NULL DEFAULT 'pending',
            admin_notes text,
            processed_by uuid,
            processed_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE node_requests IS 'Created by 0001.legacy-tables';
    END IF;
END $$;

DO $$
BEGIN
    IF to_regclass('idx_user_nodes_user_id') IS NULL THEN
        CREATE INDEX idx_user_nodes_user_id ON user_nodes (user_id);
        COMMENT ON INDEX idx_user_nodes_user_id IS 'Created by 0001.legacy-tables';
    END IF;
    IF to_regclass('idx_node_requests_user_id') IS NULL THEN
        CREATE INDEX idx_node_requests_user_id ON node_requests (user_id);
        COMMENT ON INDEX idx_node_requests_user_id IS 'Created by 0001.legacy-tables';
    END IF;
    IF to_regclass('idx_node_requests_status') IS NULL THEN
        CREATE INDEX idx_node_requests_status ON node_requests (status);
        COMMENT ON INDEX idx_node_requests_status IS 'Created by 0001.legacy-tables';
    END IF;
END $$;
