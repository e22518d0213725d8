// A data node's part in the agreement: who serves, who is in sync, when to take over.
//
//              heard, leased                      peer silent for deadtime, or suspect
//    follower ───────────────► follower ─────────────────────────────► propose {self, {self}} ──► primary
//        ▲                                                                                          │
//        └───────── another view is decided ◄── hand over: propose {peer, both} ◄── hand_over() ───┤
//                   propose {self, {self}} when the peer is lost, {self, both} when it is filled ◄──┘
//
// Pure: no socket, clock, thread, disk or log. Each call may leave actions; the shell does them in order. An action
// marked `after_persist` waits for every Persist before it; all others leave at once.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "target/replication/message.hpp"

namespace mpath::target::replication {

enum class PeerLoss : std::uint8_t { freeze, fence, proceed };  // without a witness; `continue` for administrators

struct NodeOptions {
  Member self = Member::a;
  bool witness = true;
  PeerLoss on_peer_loss = PeerLoss::freeze;
  Duration keepalive = std::chrono::milliseconds(100);
  Duration deadtime = std::chrono::milliseconds(600);
  Duration initdead = std::chrono::seconds(10);
  Duration lease = std::chrono::milliseconds(400);
  double drift = 0.02;  // clocks may differ in rate by this share
};

class NodeFsm {
 public:
  // `suspect`: memory was lost since the record was written (INVARIANTS.md). `incarnation` differs after each start.
  NodeFsm(const NodeOptions& options, const VoteRecord& record, bool suspect, std::uint64_t incarnation, TimePoint now);

  void on_message(const Message& message, TimePoint now);
  void on_time(TimePoint now);  // call at wake_at() or later
  [[nodiscard]] TimePoint wake_at() const;
  [[nodiscard]] std::vector<Action> take_actions();

  // --- from the data path
  // Writes do not reach the peer any more, or it cannot write: it is to leave in_sync.
  void peer_lost(TimePoint now);
  // Nothing differs, the peer of this incarnation has called filled(), and every write from here on goes to both.
  void peer_filled(std::uint64_t incarnation, TimePoint now);
  // False again when the peer was lost meanwhile: what it has missed since is to be filled.
  [[nodiscard]] bool peer_is_filled() const { return peer_filled_.has_value(); }
  // On the other side: all that the primary has is here and synchronised.
  void filled() { suspect_ = false; }
  // This node has led and gives up what it had under way, as a restart would: it does not go on under this view unless
  // it is alone in it.
  void interrupt(TimePoint now);
  [[nodiscard]] bool interrupted() const { return resumed_; }
  // The medium fails: this node is not to be relied on while there is another.
  void distrust(TimePoint now);
  // --- from administrators and handlers
  // The peer is to serve. Call when no command is under way and none is taken: may_serve() is false from here on, until
  // this node is primary again. False: not primary, or the peer is not in sync.
  [[nodiscard]] bool hand_over(TimePoint now);
  void on_fenced(bool off, TimePoint now);
  // False while a handler runs that a Fence has started: the peer was heard, or something else has made its answer
  // worthless. The handler is to be ended, or it may switch off a peer that is back.
  [[nodiscard]] bool awaits_fence() const { return fencing_ == Fencing::asked; }
  // After a split: what was decided here without the peer does not count, and this node joins it as an empty one.
  // False: there is no split.
  [[nodiscard]] bool give_up(TimePoint now);
  // Who does not take over by itself. The word that supersedes the others counts; the other node hears of it with the
  // beats, and the owner keeps it over restarts.
  void hold_back(const HeldBack& word, TimePoint now);
  [[nodiscard]] const HeldBack& held_back() const { return held_back_; }
  // The primary is asked to hand over to this node, until then or until the next view.
  void ask_to_serve(TimePoint until, TimePoint now);
  // Whether the peer asks for it.
  [[nodiscard]] bool peer_asks_to_serve(TimePoint now) const;

  // --- what holds now
  // Whether commands may be answered. Ask again before each answer that rests on what only this node knows.
  [[nodiscard]] bool may_serve(TimePoint now) const { return now < may_serve_until(now); }
  // Until when, if nothing happens meanwhile: `never` when no other node can serve; TimePoint::min() when it may not
  // now.
  [[nodiscard]] TimePoint may_serve_until(TimePoint now) const;
  // The life of the peer that a stream may lead to, as it was last heard of. 0: it is silent, or one of both may lack
  // what the other has, so that nothing is to be sent before the agreement has said who goes on.
  [[nodiscard]] std::uint64_t peer_life(TimePoint now) const;
  // Heard of by other ways: the replication link.
  void hear_of(const View& decided, TimePoint now) {
    learn(decided, now);
    compare(decided);
  }
  // No other node can become primary without us: what was decided, and what we voted for, names nobody else.
  [[nodiscard]] bool alone() const;
  // Whether nothing beyond view() can have been decided that is known to nobody but a witness: this node is alone, or
  // both data nodes are at it.
  [[nodiscard]] bool knows_all_votes() const { return view().number > 0 && (alone() || heard_at_view_); }
  // Nodes that must hold a write before it is acknowledged.
  [[nodiscard]] MemberSet holders() const;
  // Whether what the peer sends under the view `number` may be written here.
  // Not when our own vote may have made another the primary: what that one has served may be here.
  [[nodiscard]] bool takes_writes_of(Member sender, std::uint64_t number) const {
    const auto& vote = record().accepted;
    if (vote && vote->view.primary != sender) return false;
    return record().decided.number == number && record().decided.primary == sender && sender != options_.self;
  }
  [[nodiscard]] const View& view() const { return record().decided; }
  [[nodiscard]] const VoteRecord& record() const { return voter_.record(); }
  // Whether writes that were acknowledged may be missing here. The mark outlives restarts until this says no.
  [[nodiscard]] bool suspect() const { return suspect_; }
  [[nodiscard]] bool primary() const { return view().number > 0 && view().primary == options_.self; }
  // The peer went on alone and so did we (PeerLoss::proceed, or a fence handler that was wrong): no view follows both.
  // Known when both have met; nobody serves from then on, and nothing is filled, until the other one joins anew.
  [[nodiscard]] bool split() const { return split_; }
  // One line for a person: what keeps this node from serving. Empty when nothing does.
  [[nodiscard]] std::string waits_for(TimePoint now) const;

 private:
  // An attempt to get a view decided. Retried with higher ballots until some view of this number is.
  struct Attempt {
    View wanted;
    Ballot ballot;
    MemberSet promised;
    std::array<std::optional<Vote>, 3> accepted_by;  // what the promises say, by member
    std::optional<Vote> proposed;                    // phase 2
    MemberSet accepted;
    TimePoint again;  // when to try with a higher ballot
  };
  struct Contact {
    bool met = false;  // since our start
    bool suspect = false;
    bool restarted = false;  // since the view was decided
    bool asks_to_serve = false;
    std::uint64_t incarnation = 0;
    TimePoint heard;
    TimePoint word_until = TimePoint::min();  // its word for us, by our clock
  };

  [[nodiscard]] int voters() const { return options_.witness ? 3 : 2; }
  [[nodiscard]] bool majority(MemberSet members, bool stand_in) const;
  [[nodiscard]] bool stands_in() const;
  [[nodiscard]] Contact& contact(Member member) { return contacts_[static_cast<std::size_t>(member)]; }
  [[nodiscard]] const Contact& contact(Member member) const { return contacts_[static_cast<std::size_t>(member)]; }
  [[nodiscard]] bool silent(Member member, TimePoint now) const;
  [[nodiscard]] TimePoint leased_until(TimePoint now) const;
  [[nodiscard]] bool ours_is_open() const;

  void decide_what_to_want(TimePoint now);
  void notice_pause(TimePoint now);
  void compare(const View& of_peer);
  void unfill();
  void want(const View& view, TimePoint now);
  void start_round(TimePoint now);
  void try_again(TimePoint now);
  void learn(const View& view, TimePoint now);
  void begin_view(TimePoint now);
  void on_grant(const Message& from, const Grant& grant);
  void on_promise(const Message& from, const Promise& promise, TimePoint now);
  void on_accepted(const Message& from, const Accepted& accepted, TimePoint now);
  void on_refused(const Refused& refused, TimePoint now);
  void beat(TimePoint now);
  [[nodiscard]] std::optional<View> view_to_propose() const;
  void propose(const View& view, TimePoint now);
  void send(Member to, const Body& body, bool after_persist = false);
  void send_all(const Body& body, bool after_persist);
  void keep();

  // Constant after construction.
  NodeOptions options_;
  std::uint64_t incarnation_;

  Voter voter_;
  bool suspect_;
  bool resumed_ = false;           // primary of a view from before our start, or before interrupt()
  std::uint64_t kept_number_ = 0;  // of the last view that is on the medium as decided
  bool handing_over_ = false;
  bool split_ = false;
  TimePoint ran_at_;  // when we looked around last
  TimePoint old_words_until_ = TimePoint::min();
  bool peer_lost_ = false;
  std::optional<std::uint64_t> peer_filled_;  // its incarnation
  bool heard_at_view_ = false;                // the peer, at the decided view, since our start
  enum class Fencing : std::uint8_t { no, asked, off } fencing_ = Fencing::no;
  TimePoint fence_again_ = TimePoint::min();
  std::array<Contact, 3> contacts_;
  std::optional<Attempt> attempt_;
  unsigned tries_ = 0;   // since the last view
  bool outbid_ = false;  // a voter has promised the next view to another: only a new view brings its word back
  std::uint64_t round_ = 0;
  HeldBack held_back_;
  TimePoint ask_until_ = TimePoint::min();
  TimePoint next_beat_;
  // Questions for a lease that are on their way: when they were asked.
  struct Asked {
    std::uint64_t id = 0;
    TimePoint at;
  };
  std::array<Asked, 16> asked_;
  std::uint64_t lease_id_ = 0;
  std::vector<Action> actions_;
};

}  // namespace mpath::target::replication
