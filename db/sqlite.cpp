#include "db/sqlite.hpp"

#include "db/store.hpp"

namespace mpath::db {
namespace {

class SqliteCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "sqlite"; }
  [[nodiscard]] std::string message(int code) const override { return sqlite3_errstr(code); }
};

// A file name as an SQLite URI, which is the only way to ask for immutable.
std::string file_uri(const std::filesystem::path& file, Database::Access access) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string uri = "file:";
  for (const char c : std::filesystem::absolute(file).string()) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '%' || c == '?' || c == '#' || byte < 0x21 || byte > 0x7e) {
      uri += {'%', hex[byte >> 4], hex[byte & 15]};
    } else {
      uri += c;
    }
  }
  if (access == Database::Access::immutable) uri += "?immutable=1";
  return uri;
}

}  // namespace

const std::error_category& sqlite_category() noexcept {
  static const SqliteCategory category;
  return category;
}

error_code sqlite_error(int code) noexcept {
  switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
      return {};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return StoreErrc::damaged;
    case SQLITE_READONLY:
      return StoreErrc::read_only;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return StoreErrc::busy;
    case SQLITE_NOMEM:
      return std::make_error_code(std::errc::not_enough_memory);
    case SQLITE_FULL:
      return std::make_error_code(std::errc::no_space_on_device);
  }
  return {code, sqlite_category()};
}

Result<Database> Database::open(const std::filesystem::path& file, Access access, bool create,
                                std::chrono::milliseconds busy_wait) {
  int flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  flags |= access == Access::read_write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
  if (create) flags |= SQLITE_OPEN_CREATE;
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(file_uri(file, access).c_str(), &raw, flags, nullptr);
  Database database;
  database.handle_.reset(raw);
  if (code != SQLITE_OK) return failure(sqlite_error(code));
  sqlite3_busy_timeout(raw, static_cast<int>(busy_wait.count()));
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return database;
}

error_code Database::run(const std::string& sql) {
  return sqlite_error(sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr));
}

void Database::checkpoint_on_close(bool on) {
  sqlite3_db_config(handle_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on ? 0 : 1, nullptr);
}

Query::Query(Database& database, std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  note(sqlite3_prepare_v2(database.handle(), sql.data(), static_cast<int>(sql.size()), &raw, nullptr));
  statement_.reset(raw);
}

void Query::note(int code) {
  if (!error_) error_ = sqlite_error(code);
}

void Query::restart() {
  if (!error_) sqlite3_reset(statement_.get());
}

void Query::bind(int index, std::int64_t value) {
  if (!error_) note(sqlite3_bind_int64(statement_.get(), index, value));
}

void Query::bind(int index, std::string_view value) {
  if (error_) return;
  const char* bytes = value.data() == nullptr ? "" : value.data();  // a null pointer would bind NULL
  note(sqlite3_bind_text(statement_.get(), index, bytes, static_cast<int>(value.size()), SQLITE_TRANSIENT));
}

bool Query::next() {
  if (error_) return false;
  const int code = sqlite3_step(statement_.get());
  note(code);
  if (code != SQLITE_ROW) sqlite3_reset(statement_.get());  // the reading ends with its last row
  return code == SQLITE_ROW;
}

error_code Query::run() {
  while (next()) {
  }
  return error_;
}

std::string Query::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

Transaction::Transaction(Database& database, Kind kind)
    : database_(database), error_(database.run(kind == Kind::writing ? "BEGIN IMMEDIATE" : "BEGIN")) {
  open_ = !error_;
}

Transaction::~Transaction() {
  if (open_) static_cast<void>(database_.run("ROLLBACK"));
}

error_code Transaction::commit() {
  const error_code error = database_.run("COMMIT");
  if (!error) open_ = false;
  return error;
}

}  // namespace mpath::db
