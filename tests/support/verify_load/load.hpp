// The verifying load: writes stamped blocks through NBD connections, reads acknowledged ones back all the time, and all
// of them at the end, and holds every answer against what the block may legally contain.
//
// Threads:   one; run() is a loop over poll().
// Ownership: clock and listener are borrowed.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "tests/support/verify_load/block_stamp.hpp"
#include "tests/support/verify_load/nbd_client.hpp"
#include "tests/support/verify_load/register_history.hpp"
#include "tests/support/verify_load/timeline.hpp"

namespace mpath::verify {

struct LoadOptions {
  NbdAddress address;
  unsigned connections = 1;
  unsigned depth = 16;                           // requests in flight per connection
  Duration duration = std::chrono::seconds(10);  // `never` end by itself: Duration::max()
  std::uint64_t area_bytes = 0;                  // from the beginning of the volume; 0: all of it
  unsigned write_percent = 60;
  bool durable = false;  // a write counts as answered when it had FUA, or when a flush after it was answered
  unsigned requests_per_second = 0;  // 0: as fast as it goes
  std::uint64_t seed = 1;            // of the random choices, and of the volume id
  bool tolerate_errors = false;      // errors are counted but do not end the load
  Duration reconnect = {};           // a lost connection is made again for so long; zero: it ends the load
  Duration hang_limit = std::chrono::seconds(60);  // nothing completed for so long: give up
  Duration stall_worth_telling = std::chrono::milliseconds(100);
  std::string status_file;   // rewritten on marks and ten times a second, lines of key=value
  std::string backing_file;  // read as well at the end, past the server: what the target really stored
  int control_fd = -1;       // lines: `mark TEXT`, `stop`; end of file changes nothing
};

enum class FaultKind : std::uint8_t { lost, stale, forged, misplaced, torn, damaged };
[[nodiscard]] const char* name(FaultKind kind);

struct Fault {
  FaultKind kind;
  std::uint64_t block;
  std::string text;
};

enum class LoadEnd : std::uint8_t { complete, hang, connection_lost, io_error };

struct LoadResult {
  LoadEnd end = LoadEnd::complete;
  std::string why;                                   // when not complete
  std::uint64_t acked = 0;                           // 4 KiB blocks written and acknowledged
  std::uint64_t verified = 0;                        // of those, read back as they must be
  std::uint64_t writes = 0, reads = 0, flushes = 0;  // requests answered
  std::uint64_t errors = 0;                          // requests answered with an error
  std::uint64_t reconnects = 0;
  std::uint64_t unanswered = 0;  // requests whose connection went away
  std::uint64_t blocks_checked_in_file = 0;
  std::vector<Fault> faults;  // the first of each block
};

class LoadListener {
 public:
  virtual ~LoadListener() = default;
  virtual void on_mark(const Timeline& timeline) = 0;  // the new phase is timeline.current()
  virtual void on_stall(TimePoint now, Duration stall) = 0;
  virtual void on_fault(TimePoint now, const Fault& fault) = 0;
  virtual void on_error(TimePoint now, std::uint32_t nbd_error, std::uint64_t count) = 0;  // the first of a phase
  virtual void on_connection(TimePoint now, const std::string& text) = 0;
  virtual void on_final_pass(TimePoint now, std::uint64_t blocks) = 0;
};

class VerifyLoad {
 public:
  VerifyLoad(LoadOptions options, Clock& clock, LoadListener& listener);
  ~VerifyLoad();

  // Connects. Fails as NbdClient::connect() does, or with ENOSPC when the volume is smaller than one large request.
  [[nodiscard]] error_code open();
  // Runs to the end. Call once.
  [[nodiscard]] LoadResult run();
  [[nodiscard]] const Timeline& timeline() const { return *timeline_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  // From a signal handler's point of view: these only set flags.
  void ask_mark() { mark_asked_ = 1; }
  void ask_stop() { stop_asked_ = 1; }

 private:
  enum class Stage : std::uint8_t { load, drain, flush, final_pass, done };
  enum class Op : std::uint8_t { write, read, flush };
  struct Slot {
    bool busy = false;
    Op op = Op::read;
    bool cached = false;  // write: answered only when it was flushed
    bool flushing = false;
    std::uint64_t first_block = 0;
    unsigned blocks = 0;
    TimePoint begun{};
    std::vector<std::byte> data;
    std::vector<std::uint64_t> seqs;  // write
    std::vector<ReadTicket> tickets;  // read
  };
  struct Connection {
    NbdClient client;
    std::vector<Slot> slots;
    TimePoint retry_until{};
    TimePoint retry_at{};
  };

  void loop_once();
  void fill(std::size_t connection);
  void begin_request(std::size_t connection, std::size_t slot);
  bool choose_write(Slot& slot);
  bool choose_read(Slot& slot);
  bool choose_final_read(Slot& slot);
  void submit(std::size_t connection, std::size_t slot, bool fua);
  void submit_flush(std::size_t connection, std::size_t slot);
  void take_reply(std::size_t connection, const NbdReply& reply);
  void check_read(Slot& slot);
  void check_block(std::span<const std::byte, block_bytes> data, const ReadTicket& ticket);
  void found_fault(FaultKind kind, std::uint64_t block, std::string text);
  void lose_connection(std::size_t connection, error_code cause);
  void retry_connections();
  void advance();
  void check_backing_file();
  void read_control();
  void obey(const std::string& line);
  void write_status();
  void give_up(LoadEnd end, std::string why);
  [[nodiscard]] unsigned random_blocks();
  [[nodiscard]] bool may_begin() const;
  [[nodiscard]] int poll_timeout_ms() const;

  // Constant after open().
  LoadOptions options_;
  Clock& clock_;
  LoadListener& listener_;
  std::uint64_t volume_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t area_blocks_ = 0;

  std::vector<std::unique_ptr<Connection>> connections_;
  std::unique_ptr<RegisterHistory> registers_;
  std::unique_ptr<Timeline> timeline_;
  LoadResult result_;
  Stage stage_ = Stage::load;
  TimePoint stop_at_{};
  TimePoint status_at_{};
  std::mt19937_64 random_;
  std::vector<std::uint64_t> written_;      // blocks with an acknowledged write
  std::deque<std::uint64_t> fresh_;         // acknowledged lately, not yet read back
  std::vector<bool> bad_;                   // a fault was reported
  std::uint64_t begun_ = 0;                 // requests begun, for the rate
  std::uint64_t final_next_ = 0;            // next block of the final pass
  std::vector<std::uint64_t> final_again_;  // blocks to read once more
  std::string control_text_;
  std::vector<NbdReply> replies_;
  volatile int mark_asked_ = 0;
  volatile int stop_asked_ = 0;
};

}  // namespace mpath::verify
