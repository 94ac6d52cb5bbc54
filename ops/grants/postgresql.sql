-- What each role may do with the books. Run it as the owner of the tables (who may create roles), after every
-- `payments migrate`; running it again changes nothing:
--
--   psql -v ON_ERROR_STOP=1 -d payments -f ops/grants/postgresql.sql
--
-- The roles cannot log in. Give each program a user of its own, and the role it needs:
--
--   CREATE ROLE worker LOGIN PASSWORD '…' IN ROLE payments_worker;
--
-- Nobody but the owner may delete a row, change a journal, an entry or a line of the audit log, or switch a guard off:
-- so nobody but `payments migrate` connects as the owner.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['payments_worker', 'payments_operator', 'payments_custodian', 'payments_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public
    FROM PUBLIC, payments_worker, payments_operator, payments_custodian, payments_auditor;
GRANT USAGE ON SCHEMA public TO payments_worker, payments_operator, payments_custodian, payments_auditor;

-- Auditors, and the program that proves the books (`payments verify`), read. What they read is encrypted where it is a
-- token: they have no key.
GRANT SELECT ON ALL TABLES IN SCHEMA public
    TO payments_worker, payments_operator, payments_custodian, payments_auditor;

-- Workers, the relay within them included, add to the books and move states on.
GRANT INSERT ON
    payments, attempts, captures, refunds, inbox, callbacks, outbox, journals, entries, audit, audit_heads,
    encryption_keys, dead_letters, leases
    TO payments_worker;
GRANT UPDATE ON
    payments, attempts, captures, refunds, callbacks, outbox, audit_heads, dead_letters, leases
    TO payments_worker;

-- Operators take in dead letters and send them back (a row of the outbox, which a worker publishes). They work on
-- cases, and take the mark off a payment with the case. Else they cannot touch a payment but by a command.
GRANT INSERT ON dead_letters, outbox, cases, case_steps, audit, audit_heads TO payments_operator;
GRANT UPDATE ON dead_letters, cases, audit_heads TO payments_operator;
GRANT UPDATE (attention) ON payments TO payments_operator;

-- Custodians change keys (`payments keys`): what is encrypted is encrypted anew, the rest of the row is out of reach.
GRANT INSERT ON encryption_keys, audit, audit_heads TO payments_custodian;
GRANT UPDATE ON encryption_keys, audit_heads TO payments_custodian;
GRANT UPDATE (request, request_hash) ON payments, refunds TO payments_custodian;
GRANT UPDATE (brought) ON attempts TO payments_custodian;
GRANT UPDATE (body_hash) ON inbox TO payments_custodian;
GRANT UPDATE (body) ON outbox TO payments_custodian;
GRANT UPDATE (content) ON dead_letters TO payments_custodian;
