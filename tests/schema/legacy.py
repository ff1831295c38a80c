"""A MineGNK database as the portal left it, before the first migration: written as TypeORM writes it."""

# uuid-ossp is not everywhere: its function stands in for it.
TABLES = """
CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT gen_random_uuid()';
CREATE TYPE "public"."users_role_enum" AS ENUM('user', 'admin');
CREATE TYPE "public"."users_provider_enum" AS ENUM('local', 'google', 'github');
CREATE TABLE "users" (
    "id" uuid NOT NULL DEFAULT uuid_generate_v4(), "email" character varying(255) NOT NULL,
    "password" character varying(255), "name" character varying(255),
    "role" "public"."users_role_enum" NOT NULL DEFAULT 'user',
    "provider" "public"."users_provider_enum" NOT NULL DEFAULT 'local',
    "googleId" character varying(255), "githubId" character varying(255), "avatarUrl" character varying(255),
    "isActive" boolean NOT NULL DEFAULT true,
    "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT "UQ_97672ac88f789774dd47f7c8be3" UNIQUE ("email"),
    CONSTRAINT "UQ_f382af58ab36057334fb262efd5" UNIQUE ("googleId"),
    CONSTRAINT "UQ_42148de213279d66bf94b363bf2" UNIQUE ("githubId"),
    CONSTRAINT "PK_a3ffb1c0c8416b9fc6f907b7433" PRIMARY KEY ("id"));
CREATE TABLE "user_nodes" (
    "id" uuid NOT NULL DEFAULT uuid_generate_v4(), "user_id" uuid NOT NULL,
    "node_address" character varying(255) NOT NULL, "label" character varying(255), "gpu_type" character varying(50),
    "gcore_instance_id" character varying(255), "notes" text, "is_active" boolean NOT NULL DEFAULT true,
    "created_at" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    "updated_at" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT "UQ_ed02a6dd1b7ae93eb8f4a3a3a3b" UNIQUE ("node_address"),
    CONSTRAINT "PK_4cc5d9b5b6e1ff4d0d5ee3d5b6c" PRIMARY KEY ("id"),
    CONSTRAINT "FK_1b02a8a1e6a0d3b2d2c5a8b3c1a" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE);
CREATE INDEX "idx_user_nodes_user_id" ON "user_nodes" ("user_id");
CREATE TYPE "public"."node_requests_gpu_type_enum" AS ENUM('A100', 'H100', 'H200');
CREATE TYPE "public"."node_requests_status_enum" AS ENUM('pending', 'approved', 'rejected', 'completed');
CREATE TABLE "node_requests" (
    "id" uuid NOT NULL DEFAULT uuid_generate_v4(), "user_id" uuid NOT NULL,
    "gpu_type" "public"."node_requests_gpu_type_enum", "gpu_count" integer NOT NULL DEFAULT '1',
    "region" character varying(255), "message" text,
    "status" "public"."node_requests_status_enum" NOT NULL DEFAULT 'pending', "admin_notes" text,
    "processed_by" uuid, "processed_at" TIMESTAMP WITH TIME ZONE,
    "created_at" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    "updated_at" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT "PK_a9a2a8b3d7d8d6a8b0d9c8e7f61" PRIMARY KEY ("id"),
    CONSTRAINT "FK_2c3f5a8d1e6b7c4a9d0e8f1b2a3" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE);
CREATE INDEX "idx_node_requests_user_id" ON "node_requests" ("user_id");
CREATE INDEX "idx_node_requests_status" ON "node_requests" ("status");
"""

ANNA = "11111111-1111-4111-8111-111111111111"
BORIS = "22222222-2222-4222-8222-222222222222"

LONG_LABEL = "Rack 7, left: " + "the machine with the blue cable " * 7

ROWS = f"""
INSERT INTO users (id, email, password, role, provider, "googleId", "isActive", "createdAt", "updatedAt") VALUES
    ('{ANNA}', 'anna@example.org', '$2b$10$hash', 'admin', 'local', NULL, true, '2025-03-01 10:00+00', '2025-03-02+00'),
    ('{BORIS}', 'boris@example.org', NULL, 'user', 'google', 'g-77', false, '2025-04-01 10:00+00', '2025-04-02+00');
INSERT INTO user_nodes
    (id, user_id, node_address, label, gpu_type, gcore_instance_id, notes, is_active, created_at, updated_at)
VALUES
    ('a0000000-0000-4000-8000-000000000001', '{ANNA}', 'gonka1anna', 'Anna''s first', 'H100', 'gc-1', 'paid',
     true, '2025-05-01 08:00:00.123456+00', '2025-05-02+00'),
    ('a0000000-0000-4000-8000-000000000002', '{ANNA}', 'gonkavaloper1anna', '{LONG_LABEL}', NULL, NULL, NULL,
     false, '2025-05-03+00', '2025-05-04+00'),
    ('a0000000-0000-4000-8000-000000000003', '{BORIS}', 'gonkavalcons1boris', NULL, NULL, NULL, E'two\nlines',
     true, '2025-05-05+00', '2025-05-06+00'),
    ('a0000000-0000-4000-8000-000000000004', '{BORIS}', 'gonka1boris/node-1', '', 'A100', '', '',
     true, '2025-05-07+00', '2025-05-08+00'),
    ('a0000000-0000-4000-8000-000000000005', '{BORIS}', 'host-17.example.org', 'Host 17', 'H200', NULL, NULL,
     true, '2025-05-09+00', '2025-05-10+00');
INSERT INTO node_requests (user_id, gpu_type, gpu_count, region, message, status, processed_by, processed_at)
VALUES ('{BORIS}', 'H200', 8, 'eu', 'please', 'approved', '{ANNA}', '2025-06-01+00'),
       ('{BORIS}', NULL, 1, NULL, NULL, 'pending', NULL, NULL);
"""

CONTENT = """
SELECT 'users', to_jsonb(t) - 'telegram' - 'discord' - 'currency_preference' FROM users AS t
UNION ALL SELECT 'user_nodes', to_jsonb(t) FROM user_nodes AS t
UNION ALL SELECT 'node_requests', to_jsonb(t) FROM node_requests AS t
ORDER BY 1, 2
"""
