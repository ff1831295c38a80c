-- The nodes: identity and reference data, apart from who they are assigned to.
-- depends: 0001.legacy-tables

CREATE TABLE IF NOT EXISTS nodes (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    identifier varchar(255) UNIQUE NOT NULL,
    identifier_type varchar(50) NOT NULL,
    display_name varchar(100),
    gpu_type varchar(50),
    region varchar(100),
    gcore_instance_id varchar(255),
    created_at timestamptz DEFAULT now(),
    CONSTRAINT chk_identifier_type CHECK (identifier_type IN ('wallet', 'node_id', 'operator', 'validator'))
);

CREATE INDEX IF NOT EXISTS idx_nodes_identifier ON nodes (identifier);

CREATE INDEX IF NOT EXISTS idx_nodes_gpu_type ON nodes (gpu_type);
