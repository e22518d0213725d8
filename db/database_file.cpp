#include "db/database_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/system_clock.hpp"
#include "db/store.hpp"

namespace mpath::db {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t application_id = 0x6d706174;  // "mpat": on disk, never renumber

// A target's name, address, port and portal group, and the iface, identify a node. `manual`: an administrator made it,
// so no discovery removes it. `n` numbers the aliases of one prefix and is never used twice.
constexpr const char* first_step = R"sql(
  CREATE TABLE iface (
    name TEXT PRIMARY KEY NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE iface_setting (
    owner TEXT NOT NULL REFERENCES iface (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
  ) WITHOUT ROWID;
  CREATE TABLE node (
    id INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    address TEXT NOT NULL,
    port INTEGER NOT NULL,
    tpgt INTEGER NOT NULL,
    iface TEXT NOT NULL REFERENCES iface (name) ON DELETE CASCADE,
    manual INTEGER NOT NULL,
    UNIQUE (target, address, port, tpgt, iface)
  );
  CREATE INDEX node_of_iface ON node (iface);
  CREATE TABLE node_setting (
    owner INTEGER NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
  ) WITHOUT ROWID;
  CREATE TABLE discovery (
    id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    address TEXT NOT NULL,
    port INTEGER NOT NULL,
    UNIQUE (type, address, port)
  );
  CREATE TABLE discovery_setting (
    owner INTEGER NOT NULL REFERENCES discovery (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
  ) WITHOUT ROWID;
  CREATE TABLE discovery_node (
    discovery INTEGER NOT NULL REFERENCES discovery (id) ON DELETE CASCADE,
    node INTEGER NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    PRIMARY KEY (discovery, node)
  ) WITHOUT ROWID;
  CREATE INDEX discovery_of_node ON discovery_node (node);
  CREATE TABLE alias (
    prefix TEXT NOT NULL,
    wwid TEXT NOT NULL,
    n INTEGER NOT NULL,
    name TEXT NOT NULL UNIQUE,
    PRIMARY KEY (prefix, wwid),
    UNIQUE (prefix, n)
  ) WITHOUT ROWID;
  INSERT INTO iface (name) VALUES ('default');
)sql";

constexpr std::array steps_of_this_version = {first_step};

error_code errno_code() {
  return {errno, std::generic_category()};
}

// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

error_code make_directories(const fs::path& directory) {
  if (directory.empty()) return {};
  if (::mkdir(directory.c_str(), 0700) == 0) {
    return ::chmod(directory.c_str(), 0700) == 0 ? error_code{} : errno_code();  // whatever the umask was
  }
  if (errno == EEXIST) return {};
  if (errno != ENOENT || !directory.has_relative_path()) return errno_code();
  if (const error_code error = make_directories(directory.parent_path())) return error;
  if (::mkdir(directory.c_str(), 0700) != 0) return errno == EEXIST ? error_code{} : errno_code();
  return ::chmod(directory.c_str(), 0700) == 0 ? error_code{} : errno_code();
}

// Waits for the exclusive lock of the directory, which only the makers of a new file take.
error_code lock_directory(int directory, std::chrono::milliseconds wait) {
  constexpr std::chrono::milliseconds pause{10};
  for (auto left = wait; ::flock(directory, LOCK_EX | LOCK_NB) != 0; left -= pause) {
    if (errno != EWOULDBLOCK && errno != EINTR) return errno_code();
    if (left <= std::chrono::milliseconds::zero()) return StoreErrc::busy;
    block_for(pause);
  }
  return {};
}

error_code build_new(const fs::path& scratch, SchemaSteps steps, std::chrono::milliseconds busy_wait) {
  auto database = Database::open(scratch, Database::Access::read_write, false, busy_wait);
  if (!database) return database.error();
  error_code error = database->run(fmt::format("PRAGMA application_id = {}", application_id));
  if (!error) error = bring_up_to_date(*database, steps);
  if (!error) error = database->run("PRAGMA journal_mode = WAL");  // kept in the file's header
  return error;
}

// Makes the whole file under another name, then gives it its own. The caller holds the directory's lock.
error_code create_locked(const fs::path& file, int directory, SchemaSteps steps, std::chrono::milliseconds busy_wait) {
  if (::access(file.c_str(), F_OK) == 0) return {};  // another process was faster
  // What an earlier file left must not be replayed into the new one.
  for (const char* suffix : {"-wal", "-shm", "-journal"}) ::unlink((file.string() + suffix).c_str());
  const std::string scratch = file.string() + ".new";
  ::unlink(scratch.c_str());
  {
    const Descriptor fd(::open(scratch.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0 || ::fchmod(fd.get(), 0600) != 0) return errno_code();
  }
  error_code error = build_new(scratch, steps, busy_wait);
  if (!error && ::rename(scratch.c_str(), file.c_str()) != 0) error = errno_code();
  if (!error && ::fsync(directory) != 0) error = errno_code();
  if (error) {
    for (const char* suffix : {"", "-wal", "-shm", "-journal"}) ::unlink((scratch + suffix).c_str());
  }
  return error;
}

error_code create(const fs::path& file, SchemaSteps steps, std::chrono::milliseconds busy_wait) {
  const fs::path parent = fs::absolute(file).parent_path();
  if (const error_code error = make_directories(parent))
    return error == std::errc::read_only_file_system ? StoreErrc::read_only : error;
  const Descriptor directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return errno_code();
  if (const error_code error = lock_directory(directory.get(), busy_wait)) return error;
  return create_locked(file, directory.get(), steps, busy_wait);
}

// The first bytes and the size, before sqlite sees the file.
error_code check_header(const fs::path& file) {
  constexpr std::string_view magic{"SQLite format 3\0", 16};
  struct stat status {};
  const Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0 || ::fstat(fd.get(), &status) != 0) return errno_code();
  if (!S_ISREG(status.st_mode)) return StoreErrc::damaged;
  std::array<char, magic.size()> head{};
  const ssize_t got = ::pread(fd.get(), head.data(), head.size(), 0);
  if (got < 0) return errno_code();
  if (std::string_view(head.data(), static_cast<std::size_t>(got)) != magic) return StoreErrc::damaged;
  return {};
}

bool is_write_protected(const fs::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return false;
  if ((status.st_mode & S_IWUSR) == 0 || ::access(file.c_str(), W_OK) != 0) return true;
  return ::access(fs::absolute(file).parent_path().c_str(), W_OK) != 0;  // the log and its index live next to the file
}

// A write-ahead log with something in it must be read through; without one the file alone is everything.
bool has_log(const fs::path& file) {
  struct stat status {};
  return ::stat((file.string() + "-wal").c_str(), &status) == 0 && status.st_size > 0;
}

std::int64_t read_number(Database& database, const char* pragma, error_code& error) {
  Query query(database, pragma);
  const std::int64_t number = query.next() ? query.number(0) : 0;
  if (!error) error = query.error();
  return number;
}

// Reads only.
error_code verify(Database& database, SchemaSteps steps, bool may_step) {
  error_code error;
  const std::int64_t id = read_number(database, "PRAGMA application_id", error);
  const std::int64_t version = read_number(database, "PRAGMA user_version", error);
  if (error) return error;
  if (id != application_id) return StoreErrc::damaged;
  if (version > std::ssize(steps)) return StoreErrc::newer_schema;
  if (version < std::ssize(steps) && !may_step) return StoreErrc::read_only;
  Query check(database, "PRAGMA quick_check(1)");
  const bool whole = check.next() && check.text(0) == "ok";
  if (check.error()) return check.error();
  return whole ? error_code{} : make_error_code(StoreErrc::damaged);
}

}  // namespace

SchemaSteps schema_steps() {
  return steps_of_this_version;
}

error_code bring_up_to_date(Database& database, SchemaSteps steps) {
  error_code error;
  if (read_number(database, "PRAGMA user_version", error) == std::ssize(steps)) return error;
  Transaction transaction(database, Transaction::Kind::writing);
  if (transaction.error()) return transaction.error();
  const std::int64_t version = read_number(database, "PRAGMA user_version", error);  // again, now that it holds still
  if (error) return error;
  if (version > std::ssize(steps)) return StoreErrc::newer_schema;
  for (const char* step : steps.subspan(static_cast<std::size_t>(version))) {
    if ((error = database.run(step))) return error;
  }
  if ((error = database.run(fmt::format("PRAGMA user_version = {}", steps.size())))) return error;
  return transaction.commit();
}

Result<OpenedFile> open_database_file(const fs::path& file, SchemaSteps steps, std::chrono::milliseconds busy_wait) {
  if (::access(file.c_str(), F_OK) != 0) {
    if (errno != ENOENT) return failure(errno);
    if (const error_code error = create(file, steps, busy_wait)) return failure(error);
  }
  if (const error_code error = check_header(file)) return failure(error);
  using enum Database::Access;
  const bool protected_file = is_write_protected(file);
  const auto access = !protected_file ? read_write : has_log(file) ? read_only : immutable;
  auto database = Database::open(file, access, false, busy_wait);
  if (!database) return failure(database.error());
  database->checkpoint_on_close(false);
  error_code error = verify(*database, steps, !protected_file);
  if (!error && !protected_file) {
    error = database->run("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON");
    if (!error) error = bring_up_to_date(*database, steps);
  }
  if (error) return failure(error);
  database->checkpoint_on_close(true);
  return OpenedFile{.database = *std::move(database), .read_only = protected_file};
}

}  // namespace mpath::db
