// A thin hold on sqlite for this folder: a connection, a statement with sticky errors, a transaction.
//
// Threads: one connection a thread.
// Errors:  sqlite's extended codes with category "sqlite"; corruption, read-only and busy become StoreErrc.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace mpath::db {

[[nodiscard]] const std::error_category& sqlite_category() noexcept;
[[nodiscard]] error_code sqlite_error(int code) noexcept;

class Database {
 public:
  enum class Access : std::uint8_t {
    read_write,
    read_only,
    immutable
  };  // immutable: nobody else has it open for writing
  // Opens an existing file, or a new one with `create`. Neither reads nor writes it yet.
  [[nodiscard]] static Result<Database> open(const std::filesystem::path& file, Access access, bool create,
                                             std::chrono::milliseconds busy_wait);
  // Statements separated by semicolons, results thrown away.
  [[nodiscard]] error_code run(const std::string& sql);
  // Whether the last close of the file copies the write-ahead log back. Off while the file is not trusted.
  void checkpoint_on_close(bool on);
  [[nodiscard]] sqlite3* handle() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

// One prepared statement. After an error every call is a no-op and error() keeps the first cause.
//   Query q(db, "SELECT name FROM iface WHERE name = ?");
//   q.with(name);
//   while (q.next()) use(q.text(0));
//   if (q.error()) return failure(q.error());
class Query {
 public:
  Query(Database& database, std::string_view sql);

  // Starts anew with these values for the question marks.
  template <typename... Values>
  Query& with(const Values&... values) {
    restart();
    int index = 0;
    (bind(++index, values), ...);
    return *this;
  }
  // Steps to the next row; false at the end or after an error.
  [[nodiscard]] bool next();
  // Runs to the end, rows thrown away.
  error_code run();
  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] std::int64_t number(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  [[nodiscard]] error_code error() const { return error_; }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  void restart();
  void bind(int index, std::int64_t value);
  void bind(int index, std::string_view value);
  void note(int code);

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  error_code error_;
};

// Rolls back unless committed. A writing transaction takes the write lock at once, so that it cannot fail half way.
class Transaction {
 public:
  enum class Kind : std::uint8_t { reading, writing };
  Transaction(Database& database, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  [[nodiscard]] error_code error() const { return error_; }  // why it did not begin
  [[nodiscard]] error_code commit();

 private:
  Database& database_;
  error_code error_;
  bool open_ = false;
};

}  // namespace mpath::db
