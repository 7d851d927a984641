-- Makes again what indexes-off.sql took away, then brings statistics and files up to date.
SET maintenance_work_mem = '1GB';

SELECT restore FROM taken_away ORDER BY place \gexec

DROP TABLE taken_away;
VACUUM ANALYZE;
CHECKPOINT;
