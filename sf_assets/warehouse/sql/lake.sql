-- What only a lake has: of two transactions that update a row the later one fails to commit, so that
-- two loads, or two derivations, never do the same work twice without noticing.

CREATE TABLE internal.load_turn (taken BIGINT);
CREATE TABLE internal.derive_turn (taken BIGINT);
INSERT INTO internal.load_turn VALUES (0);
INSERT INTO internal.derive_turn VALUES (0);
