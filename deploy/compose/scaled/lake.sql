-- The lake's catalog has a database to itself, beside that of the alerts.
CREATE DATABASE lake ENCODING 'UTF8' TEMPLATE template0;
