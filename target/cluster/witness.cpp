#include "target/cluster/witness.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "base/boot_id.hpp"

namespace mpath::target::cluster {

using replication::Persist;
using replication::RecordFile;
using replication::Send;

Witness::Witness(boost::asio::io_context& control, Clock& clock, WitnessOptions options, const Log& log)
    : control_(control), clock_(clock), options_(std::move(options)), log_(log.about("witness")) {}

std::expected<void, std::string> Witness::start() {
  std::error_code error;
  std::filesystem::create_directories(options_.directory, error);
  if (error) return std::unexpected(fmt::format("{}: {}", options_.directory.string(), error.message()));
  const ClusterId id = cluster_id(options_.cluster);
  auto opened = RecordFile::open(options_.directory / "record", id, {});
  if (!opened) return std::unexpected(opened.error());
  file_.emplace(std::move(*opened));
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  const LifeCircumstances now{
      .record_exists = false,  // it holds no data whose loss could be suspected
      .boot_id = read_boot_id(),
      .wall_clock = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(wall).count())};
  auto begun = LifeFile::begin(options_.directory / "life", now);
  if (!begun) return std::unexpected(begun.error());
  life_.emplace(std::move(*begun));

  AgreementLinksOptions wanted{.self = Member::witness,
                               .incarnation = life_->incarnation(),
                               .links = {},
                               .keys = frame_keys(),
                               .answers_only = true};
  for (const Portal& portal : options_.listen) wanted.links.push_back({.local = portal, .remotes = {}});
  fsm_.emplace(file_->record(), options_.lease, life_->incarnation(), clock_.now());
  waits_for_both_ = file_->record() == VoteRecord();
  const auto receive = [this](const Message& message) { on_message(message); };
  links_.emplace(control_, clock_, std::move(wanted), receive, log_);
  if (auto outcome = links_->open(); !outcome) return outcome;
  log_.notice("cluster={} view={}", options_.cluster, mpath::quoted(format_view(file_->record().decided)));
  if (waits_for_both_) log_.notice("has no votes of its own yet: waits to hear both nodes");
  return {};
}

std::vector<Key> Witness::frame_keys() const {
  std::vector<Key> keys = options_.keys.all();
  for (Key& key : keys) key = frame_key(key, cluster_id(options_.cluster));
  return keys;
}

void Witness::set_keys(const ClusterKeys& keys) {
  options_.keys = keys;
  if (links_) links_->set_keys(frame_keys());
}

void Witness::on_message(const Message& message) {
  if (failed_ || (waits_for_both_ && !both_heard(message))) return;
  take(message);
}

bool Witness::both_heard(const Message& message) {
  // A node that knows no view has nothing to say about what was decided.
  if (!holds_data(message.from) || message.decided.number == 0) return false;
  heard_[static_cast<std::size_t>(message.from)] = message.decided;
  if (std::ranges::any_of(heard_, [](const View& view) { return view.number == 0; })) return false;
  waits_for_both_ = false;
  const View& later = *std::ranges::max_element(heard_, {}, &View::number);
  log_.notice("heard both nodes: votes from here on view={}", mpath::quoted(format_view(later)));
  // Nothing is answered to this one: it asks for nothing.
  take({.from = message.from, .incarnation = message.incarnation, .decided = later, .body = Beat()});
  return !failed_;
}

void Witness::take(const Message& message) {
  const std::uint64_t before = fsm_->record().decided.number;
  fsm_->on_message(message, clock_.now());
  for (const replication::Action& action : fsm_->take_actions()) {
    if (const auto* const persist = std::get_if<Persist>(&action)) {
      if (const error_code error = file_->write(persist->record)) {
        failed_ = true;
        links_->close();
        log_.error("{}: the vote record cannot be written: {}", (options_.directory / "record").string(),
                   error.message());
        if (on_failure) on_failure();
        return;
      }
    } else if (const auto* const send = std::get_if<Send>(&action)) {
      links_->send(send->to, send->message);
    }
  }
  if (fsm_->record().decided.number != before) log_.notice("view {}", format_view(fsm_->record().decided));
}

}  // namespace mpath::target::cluster
