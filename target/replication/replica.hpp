// One of a unit's two copies: the store that its logical unit writes to on the node that leads, and what takes the
// peer's writes on the one that follows.
//
//              lead                                                   follow
//    write ──► lock the range ──► mark the extents ─┬─► local store      stream ──► local store ──► ack
//              (waits for what     (durable before  └─► stream ──► ack
//               overlaps)           anything moves)      both ──► answered
//
// Order:      writes that overlap are never under way together, so that it does not matter in which order either side
//             carries them out; reads wait for writes of the same blocks, so that no answer is taken back.
// Answers:    a write is answered when it is here, and at the peer if Orders want it there, or while a stream leads to
//             the peer; with Protocol::a or ::b earlier, from a copy of what it writes, whose range stays locked until
//             the peer has it (replica_early.cpp). A read is answered while Serving lets it; until then it is kept.
// Filling:    extents that may differ are compared by checksums under the range's lock, and what differs is written to
//             the peer; where nothing is equal for a while, without comparing. Commands go on meanwhile and go to both.
// Failures:   of the peer's stream or medium: reported, and writes wait until Orders let them go. Of the local medium:
//             reported, also when it does not end a command; while the peer has everything the command is kept until
//             another node leads.
// Threads:    the unit's shard. Ownership: everything it is given is borrowed. Destroy after close(), or when
//             nothing that was borrowed calls back any more.
// Allocation: none per request in steady state.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "target/replication/body_copy.hpp"
#include "target/replication/dirty_map.hpp"
#include "target/replication/orders.hpp"
#include "target/replication/peer_stream.hpp"
#include "target/scsi/logical_unit.hpp"
#include "target/scsi/range_locks.hpp"
#include "target/scsi/serving.hpp"
#include "target/store/store.hpp"

namespace mpath::target::replication {

struct ReplicaOptions {
  unsigned fill_window = 8;                                // chunks of the filling under way
  std::uint32_t fill_chunk_bytes = 1 << 20;                // at most; locked while it is compared
  unsigned fill_unlike_chunks = 8;                         // of which nothing was equal, and the next are hardly compared
  std::uint64_t fill_bytes_per_second = 0;                 // at most; 0: as fast as it goes
  std::uint64_t fill_bytes_per_second_min = 0;             // at least, however busy initiators are; 0: half of the time
  Duration stream_grace = std::chrono::milliseconds(600);  // without a stream, before the peer counts as lost
  Duration peer_timeout = std::chrono::seconds(5);         // for one answer of the peer
  Duration disk_timeout = std::chrono::seconds(10);        // for one command of the medium here; 0: none
  Duration clean_interval = std::chrono::seconds(2);       // how often extents at rest are synchronised and unmarked
  Duration failed_pause = std::chrono::seconds(30);        // before a peer is tried again whose medium failed
};

// What people and counters want to know.
struct ReplicaCounters {
  std::uint64_t sent_bytes = 0, received_bytes = 0, read_bytes = 0, written_bytes = 0;
  std::uint64_t pending = 0;            // writes that the peer has not answered
  std::uint64_t unconfirmed_bytes = 0;  // of them, those that were answered here
  Protocol protocol = Protocol::c;      // in force
  std::optional<Protocol> of_peer;      // what the other node is told to use; none: there is no stream
  std::uint64_t marked_bytes = 0;
  std::uint64_t to_fill_bytes = 0, fill_total_bytes = 0, fill_done_bytes = 0, fill_sent_bytes = 0;
  std::uint64_t verified_bytes = 0, verify_total_bytes = 0;
  bool stream = false, filling = false, verifying = false;
};

// Blocks that were found to differ: [offset, offset + length).
struct Difference {
  std::uint64_t offset = 0, length = 0;
};
struct VerifyResult {
  bool complete = false;  // false: it was cut short (the stream, the role)
  std::uint64_t differing_bytes = 0;
  std::vector<Difference> differences;  // the first ones, neighbours as one
};

class Replica final : public Store, public StateLog, private PeerStream::Receiver {
 public:
  struct Seams {
    Store& local;
    MapStore& map_store;
    StateLog& local_state;
    const Serving& serving;
    Clock& clock;
    BufferPool& buffers;
  };
  // `map`: as loaded. `state`: as loaded.
  Replica(const Seams& seams, DirtyMap map, const LuState& state, const ReplicaOptions& options, const Log& log);
  ~Replica() override;

  // --- with the agreement
  void set_orders(const Orders& orders);
  [[nodiscard]] const Orders& orders() const { return orders_; }
  // Called with each report that differs from the one before. It must not call back: it may come from anywhere inside.
  std::function<void(const Report&)> on_report;
  // The state became another one, and is durable here: the leader changed it, or a change of our own was not answered
  // before we ceased to lead. Comes before the role that follows is reported as ready.
  std::function<void(const LuState&)> on_state;
  // This copy begins to lead, and the other one may have answered what did not come here (Protocol::a).
  std::function<void()> on_loss;

  // --- with streams
  // lead: a way to the peer of this life. follow: prepare_to_follow() was answered with true. Anything that does not
  // fit the orders of `term` is closed.
  void attach(std::shared_ptr<PeerStream> stream, std::uint64_t term, std::uint64_t peer_incarnation);
  // Ends the stream there is, so that another one is made.
  void reconnect();
  // Ends the stream there is; `done(true)` when nothing of it is under way any more and another one may come.
  void prepare_to_follow(std::uint64_t term, std::function<void(bool)> done);

  // --- when writes are answered
  // What this node is told to use. The stricter of that and of what the peer is told is in force. `window`: the bytes
  // that are answered before the peer has them, at most; a write beyond that is answered as with Protocol::c.
  void set_protocol(Protocol protocol, std::uint64_t window);
  // Calls back when the peer has everything that was answered, or is not waited for any more.
  void when_confirmed(std::function<void()> done);

  // --- for administrators
  [[nodiscard]] ReplicaCounters counters() const;
  // lead, with a stream: compares everything; `repair` writes what differs to the peer. One at a time: another one ends
  // incomplete at once.
  void verify(bool repair, std::function<void(const VerifyResult&)> done);
  void set_fill_rate(std::uint64_t most, std::uint64_t least) {
    options_.fill_bytes_per_second = most;
    options_.fill_bytes_per_second_min = least;
  }
  void set_disk_timeout(Duration most) { options_.disk_timeout = most; }
  [[nodiscard]] const DirtyMap& map() const { return map_; }
  // Everything may differ: the next filling compares all of it.
  void mark_all();

  // --- Store
  [[nodiscard]] const std::string& name() const override { return seams_.local.name(); }
  [[nodiscard]] const BlockLimits& limits() const override { return seams_.local.limits(); }
  void submit(BlockRequest& request) noexcept override;
  void submit_atomic(BlockRequest& request) noexcept override;
  void add_observer(BlockDeviceObserver& observer) override { seams_.local.add_observer(observer); }
  void remove_observer(BlockDeviceObserver& observer) override { seams_.local.remove_observer(observer); }
  // Refused: both copies would have to grow.
  void grow(std::uint64_t size_bytes, std::function<void(error_code)> done) override;
  [[nodiscard]] Usage usage() const override { return seams_.local.usage(); }
  [[nodiscard]] std::uint32_t atomic_bytes_max() const override { return seams_.local.atomic_bytes_max(); }
  [[nodiscard]] StoreEngine engine() const override { return seams_.local.engine(); }
  [[nodiscard]] std::uint64_t error_offset() const override { return seams_.local.error_offset(); }
  [[nodiscard]] std::uint64_t system_calls() const override { return seams_.local.system_calls(); }
  void close(std::function<void(error_code)> closed) override;

  // --- StateLog: lead
  void commit(const LuState& after, StateLog::Done done) override;

 private:
  struct FillJob;
  static constexpr std::uint64_t slots_max = std::uint64_t{1} << 20;  // the low bits of a sequence are the slot

  // Something under way: a command from above, or a step of our own.
  struct Op : BlockRequest {
    enum class Kind : std::uint8_t { read, write, flush, state, clean, fill_read, fill_sums, fill_write, fill_end };
    enum class Stage : std::uint8_t { idle, locking, marking, behind, running };
    Replica* owner = nullptr;
    std::uint32_t slot = 0;  // in ops_
    Kind kind = Kind::read;
    Stage stage = Stage::idle;
    bool local_done = false, peer_done = false, sent = false, atomic = false, parked = false;
    bool early = false;     // what it writes was copied: it may be answered before the peer has it
    bool received = false;  // by the peer, in this life of it
    bool answered = false;  // ... before the peer had it: one of unconfirmed_
    bool barred = false;    // one of barred_
    BlockRequest* upper = nullptr;
    RangeLock lock;
    StreamHead head;
    TimePoint sent_at;
    std::uint64_t watched = 0;  // the sequence that was seen waiting for the medium at `watched_since`
    TimePoint watched_since;
    std::string text;  // state
    iovec text_part{};
    StateLog::Done state_done;
    FillJob* job = nullptr;
    BodyCopy copy;  // early
    Op* older = nullptr;
    Op* newer = nullptr;  // of unconfirmed_
  };
  // A message of the leader that is being carried out.
  struct Apply : BlockRequest {
    Replica* owner = nullptr;
    Apply* next_free = nullptr;
    StreamHead head;
    std::uint64_t stream_number = 0;
    Buffer body;
    Buffer sums;
    iovec part{};
  };
  // One extent that is compared and made equal, chunk by chunk.
  struct FillJob {
    enum class Stage : std::uint8_t { none, resting, locking, reading, asking, writing };
    Stage stage = Stage::none;
    bool cancelled = false;  // while reading: what was read is not wanted any more
    bool verify = false;
    std::uint64_t extent = 0, at = 0, end = 0;  // bytes: the chunk begins at `at`; the extent ends at `end`
    std::uint32_t length = 0;                   // of the chunk
    RangeLock lock;
    Replica* owner = nullptr;
    Buffer data;
    iovec data_part{};
    std::vector<Sum> sums;
    iovec sums_part{};
    std::vector<std::byte> differing;  // a bit for each block
    std::vector<iovec> runs;
    unsigned answers_left = 0;
    TimePoint began;
  };

  struct Verify {
    bool repair = false;
    std::uint64_t cursor = 0;  // the next extent
    VerifyResult result;
    std::function<void(const VerifyResult&)> done;
  };

  // --- roles (replica.cpp)
  void begin_role();
  void leave_role();
  void look_whether_drained();
  void tell();
  void tick();
  void set_tick();
  [[nodiscard]] bool leading() const { return begun_ && orders_.role == CopyRole::lead; }
  void close_stream();
  void lose_stream(const std::string& why);
  void peer_failed(const std::string& why);
  void local_failed(const std::string& why);
  [[nodiscard]] bool local_hangs(TimePoint now);

  // --- lead (replica_lead.cpp)
  [[nodiscard]] Op& take_op(Op::Kind kind);
  void put_op(Op& op);
  void take(BlockRequest& request, bool atomic);
  void take_lock(Op& op, std::uint64_t offset, std::uint64_t length, bool exclusive);
  static void on_lock(RangeLock& lock) noexcept;
  void locked(Op& op);
  void run(Op& op);
  static void on_local(BlockRequest& request) noexcept;
  void local_ended(Op& op);
  void send(Op& op);
  void set_text(Op& op);
  void send_all();
  void settle(Op& op);
  void settle_all();
  void finish(Op& op, BlockStatus status);
  [[nodiscard]] bool waits_for_peer() const { return orders_.peer_needed || bound_ || stream_ != nullptr; }
  void write_map();
  void marked();
  void on_ack(const StreamHead& head);
  void on_map(const StreamHead& head, std::span<const std::byte> bits);
  void map_came();
  void clean();
  void cleaned(bool ok);

  // --- answers before the peer has it (replica_early.cpp)
  [[nodiscard]] Protocol protocol() const;
  void tell_protocol();
  void take_early(Op& op);
  [[nodiscard]] bool may_answer_early(const Op& op) const;
  void answer_early(Op& op);
  [[nodiscard]] static bool is_barrier(const Op& op);
  [[nodiscard]] bool is_behind(const Op& op) const;
  void bar(Op& op);
  void confirmed(Op& op);
  void look_at_barred();
  void on_received(const StreamHead& head);

  // --- filling (replica_fill.cpp)
  void plan_fill();
  void fill();
  [[nodiscard]] bool next_job();
  void start_job(std::uint64_t extent, bool for_verify);
  void start_chunk(FillJob& job);
  void chunk_locked(FillJob& job);
  void chunk_read(FillJob& job, BlockStatus status);
  void on_sums(Op& op, std::span<const std::byte> differing);
  void send_differing(FillJob& job);
  void send_run(FillJob& job, std::size_t begin, std::size_t end, bool zero);
  [[nodiscard]] bool initiators_wait() const;
  void chunk_ended(FillJob& job);
  void stop_filling();
  void end_verify(bool complete);
  [[nodiscard]] bool may_fill() const;

  // --- follow (replica_follow.cpp)
  [[nodiscard]] Apply& take_apply();
  void apply(const StreamHead& head, Buffer body);
  static void on_applied(BlockRequest& request) noexcept;
  void applied(Apply& apply);
  void answer(const Apply& apply, BlockStatus status);
  void take_state(const StreamHead& head, std::span<const std::byte> text);
  void save_state();
  void compare(Apply& apply);
  void send_map();

  // --- PeerStream::Receiver
  void on_message(const StreamHead& head, Buffer body) override;
  void on_closed(const std::string& why) override;

  Seams seams_;
  ReplicaOptions options_;
  Log log_;

  Orders orders_;
  Orders next_orders_;  // that wait until the role before has ended
  bool changing_ = false;
  bool begun_ = false;
  bool closing_ = false;
  std::function<void(error_code)> closed_;
  Report told_;
  std::uint64_t report_number_ = 0;
  std::string trouble_;
  bool medium_failed_ = false, medium_hangs_ = false;

  std::shared_ptr<PeerStream> stream_;
  std::vector<std::shared_ptr<PeerStream>> ended_streams_;  // closed; whoever called us may be one of them
  std::uint64_t stream_number_ = 0;
  bool map_received_ = false;  // lead: the follower's map came
  bool stream_ready_ = false;  // lead: ... and was noted
  TimePoint stream_lost_at_;
  TimePoint peer_failed_until_ = TimePoint::min();
  std::uint64_t failed_peer_ = 0;  // its life
  std::function<void(bool)> prepared_;

  // lead
  std::vector<std::unique_ptr<Op>> ops_;
  std::vector<Op*> free_ops_;
  std::size_t active_ops_ = 0;
  std::size_t parked_ = 0;  // reads that wait for the lease
  std::uint64_t next_sequence_ = 0;
  RangeLocks locks_{16};  // bytes: most commands are shorter than 64 KiB
  DirtyMap map_;
  bool map_failed_ = false;
  std::optional<std::uint64_t> filled_;  // the life of the peer that was told to hold everything
  bool bound_ = false;                   // it was told, and what became of it is not known: all writes wait for it
  std::uint64_t unbound_report_ = 0;     // the report that took `filled` back
  std::vector<bool> touched_;            // extents written since the last cleaning
  std::vector<std::uint64_t> cleaning_;
  bool clean_under_way_ = false;
  TimePoint clean_at_;
  std::string state_text_;     // the newest state: in force, or on its way
  bool state_unsaid_ = false;  // it is durable here, and its owner was told that it is not in force

  // early answers
  Protocol wanted_ = Protocol::c;
  Protocol of_peer_ = Protocol::c;        // of this stream
  Protocol told_protocol_ = Protocol::c;  // on this stream
  std::uint64_t window_ = 0;
  bool may_lack_ = false;  // follow: the leader answers before it is known that this copy has it
  std::size_t early_count_ = 0;
  std::uint64_t early_bytes_ = 0;        // that may be answered early
  std::uint64_t unconfirmed_bytes_ = 0;  // ... and were
  Op* oldest_ = nullptr;                 // of those that were, by sequence
  Op* newest_ = nullptr;
  std::vector<Op*> barred_;    // wait until what was answered before they came is confirmed
  std::vector<Op*> in_order_;  // while something is sent again
  std::vector<std::function<void()>> when_confirmed_;

  // filling
  std::vector<bool> to_fill_;
  std::uint64_t to_fill_count_ = 0, fill_total_ = 0;
  std::uint64_t fill_cursor_ = 0;
  unsigned fill_unlike_ = 0;      // chunks in a row of which nothing was equal
  unsigned fill_uncompared_ = 0;  // ... and what could be sent without looking since
  bool fill_planned_ = false;  // for this stream
  bool fill_end_sent_ = false;
  std::array<FillJob, 8> jobs_;
  TimePoint fill_pause_until_ = TimePoint::min();
  std::optional<Verify> verify_;

  // follow
  std::vector<std::unique_ptr<Apply>> applies_;
  Apply* free_applies_ = nullptr;
  std::size_t applying_ = 0;
  bool whole_ = false;
  std::deque<std::pair<StreamHead, LuState>> states_;  // that wait for the state log, of this stream
  bool saving_ = false;

  std::uint64_t sent_bytes_ = 0, received_bytes_ = 0, read_bytes_ = 0, written_bytes_ = 0, fill_sent_bytes_ = 0,
                fill_done_bytes_ = 0;
  bool map_writing_ = false;
  bool ticking_ = false;
  std::unique_ptr<Alarm> tick_;
};

}  // namespace mpath::target::replication
