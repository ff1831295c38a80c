"""What a database's catalogue holds, as lines of text that compare."""

import psycopg

_COLUMNS = """
SELECT class.relname, string_agg(
    attribute.attname || ' ' || format_type(attribute.atttypid, attribute.atttypmod)
    || CASE WHEN coll.collname = 'C' THEN ' collate C' ELSE '' END
    || CASE WHEN attribute.attnotnull THEN ' not null' ELSE '' END
    || coalesce(' default ' || pg_get_expr(def.adbin, def.adrelid), ''),
    E'\n' ORDER BY attribute.attnum)
FROM pg_class AS class
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
LEFT JOIN pg_attrdef AS def ON def.adrelid = class.oid AND def.adnum = attribute.attnum
LEFT JOIN pg_collation AS coll ON coll.oid = attribute.attcollation
WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'v') AND class.relname !~ 'yoyo'
GROUP BY class.relname
"""

# Not-null constraints are constraints of their own since PostgreSQL 18; the columns say it already.
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid::regclass::text !~ 'yoyo'
"""

_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename !~ 'yoyo'
"""

_OTHERS = """
SELECT 'type ' || typname || ' ' || (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum
                                     WHERE enumtypid = pg_type.oid)
FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
UNION ALL
SELECT 'function ' || oid::regprocedure || ' ' || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'extension ' || extname FROM pg_extension
UNION ALL
SELECT 'view ' || viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'comment on ' || identity || ' ' || description
FROM pg_description, pg_identify_object(classoid, objoid, objsubid)
WHERE schema = 'public'
UNION ALL
SELECT 'privilege ' || relname || ' ' || array_to_string(relacl, ' ')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relacl <> acldefault('r', relowner)
UNION ALL
SELECT 'privilege ' || attrelid::regclass || '.' || attname || ' ' || array_to_string(attacl, ' ')
FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384
"""


def columns(connection: psycopg.Connection) -> dict[str, list[str]]:
    """Table or view → its columns in order: `name type [collate C] [not null] [default expression]`."""
    return {table: lines.split("\n") for table, lines in connection.execute(_COLUMNS)}


def constraints(connection: psycopg.Connection) -> dict[str, list[str]]:
    """Table → the definitions of its constraints, sorted."""
    found: dict[str, list[str]] = {}
    for table, _, definition in connection.execute(_CONSTRAINTS):
        found.setdefault(table, []).append(definition)
    return {table: sorted(definitions) for table, definitions in found.items()}


def indexes(connection: psycopg.Connection) -> dict[str, str]:
    """Index → its definition."""
    return dict(connection.execute(_INDEXES).fetchall())


def snapshot(connection: psycopg.Connection) -> list[str]:
    """Everything in the database but yoyo's own tables, with names of constraints, comments and privileges."""
    lines = [f"{table}: {column}" for table, names in columns(connection).items() for column in names]
    lines += [" ".join(row) for row in connection.execute(_CONSTRAINTS)]
    lines += list(indexes(connection).values())
    lines += [line for (line,) in connection.execute(_OTHERS)]
    return sorted(lines)
