-- Insert `incoming_balances` into credit_balances.
INSERT INTO main.credit_balances BY NAME
SELECT * REPLACE (CAST(asked_at AS TIMESTAMPTZ) AS asked_at),
    balance_before - balance_after - credits AS unexplained
FROM incoming_balances ORDER BY asked_at;
