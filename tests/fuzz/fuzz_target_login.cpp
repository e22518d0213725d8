// A login to the target, led by bytes: whatever is said in whatever order, nobody gets in without the proof, every
// answer is one that an initiator can read, and the end is an end.
//
// The first byte sets the scene. Then each step is a byte that says what comes, and what it needs:
//   0  a PDU as it is: 48 bytes of header, and what the state machine wants of data
//   1  a login request in sequence: flags, length, text
//   2  the right answer to the last challenge: flags, and whether to ask for one in turn
//   3  what the registry says to an admission
//   4  a word for SendTargets and for an access list
#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "target/iscsi/ip_address.hpp"
#include "target/iscsi/login_fsm.hpp"
#include "target/iscsi/send_targets.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace mpath::target {
namespace {

using Bytes = std::span<const std::byte>;

std::vector<std::byte> known_challenge(iscsi::ChapAlgorithm algorithm) {
  return std::vector<std::byte>(iscsi::chap_response_bytes(algorithm), std::byte{0x5a});
}

class Player {
 public:
  explicit Player(fuzz::Input input) : input_(input) {
    const unsigned scene = input_.choice();
    guarded_ = (scene & 1) != 0;
    tsih_ = (scene & 2) != 0 ? 9 : 0;
    const Authentication accounts{.incoming = {{.user = "joe", .secret = secret}},
                                  .outgoing = Account{.user = "disk", .secret = "the secret of disk"}};
    auto target = std::make_shared<TargetView>();
    target->name = "iqn.x:t";
    target->groups = {{.tag = 1, .portals = {{.host = "10.0.0.1"}, {.host = "0.0.0.0"}}}};
    target->wishes = {.header_digests = "CRC32C,None", .max_connections = 8, .error_recovery_level = 1};
    if (guarded_) target->authentication = accounts;
    if ((scene & 4) != 0) target->access.initiators = {"iqn.x:friend*"};
    if ((scene & 8) != 0) target->redirect = Redirect::temporary;
    target->redirect_to = {.host = "10.0.0.2"};
    auto targets = std::make_shared<TargetsView>();
    if (guarded_) targets->discovery = accounts;
    targets->targets.push_back(std::move(target));
    targets_ = targets;
    const LoginOrigin origin{.remote = "10.0.0.9:1",
                             .remote_address = "10.0.0.9",
                             .local = {.host = "10.0.0.1"},
                             .make_challenge = known_challenge};
    fsm_.emplace(targets_, origin, issued_);
  }

  void play() {
    while (!over_ && !input_.bytes.empty()) {
      const unsigned what = input_.choice() % 5;
      if (what == 4) {
        ask();
      } else if (admitting_) {
        decide();
      } else if (what == 0) {
        say_raw();
      } else if (what == 1) {
        const unsigned flags = input_.choice();
        const std::size_t length = input_.choice() << 8 | input_.choice();
        say(flags, cut(length));
      } else if (what == 2) {
        prove();
      }
    }
  }

 private:
  Bytes cut(std::size_t length) {
    const Bytes part = input_.bytes.first(std::min(length, input_.bytes.size()));
    input_.bytes = input_.bytes.subspan(part.size());
    return part;
  }

  void say_raw() {
    std::array<std::byte, iscsi::bhs_bytes> bhs{};
    std::ranges::copy(cut(bhs.size()), bhs.begin());
    hear(fsm_->begin(bhs), {});
  }

  void say(unsigned flags, Bytes text) {
    const iscsi::LoginRequest request{.data_length = static_cast<std::uint32_t>(text.size()),
                                      .isid = {1, 2, 3, 4, 5, 6},
                                      .tsih = tsih_,
                                      .itt = 1,
                                      .cmd_sn = 7};
    std::array<std::byte, iscsi::bhs_bytes> bhs{};
    iscsi::encode(request, bhs);
    bhs[1] = static_cast<std::byte>(flags);
    hear(fsm_->begin(bhs), text);
  }

  void prove() {
    const unsigned flags = input_.choice();
    const bool mutual = input_.choice() % 2 != 0;
    const auto number = iscsi::parse_number(find("CHAP_A"));
    const auto id = iscsi::parse_number(find("CHAP_I"));
    const auto algorithm = number ? iscsi::chap_algorithm(*number) : std::nullopt;
    if (!algorithm || !id) return;
    const auto challenge = known_challenge(*algorithm);
    iscsi::KeyValues pairs = {{.key = "CHAP_N", .value = "joe"},
                              {.key = "CHAP_R",
                               .value = iscsi::hex_constant(iscsi::chap_response(
                                   *algorithm, static_cast<std::uint8_t>(*id), secret, challenge))}};
    if (mutual) {
      pairs.push_back({.key = "CHAP_I", .value = "1"});
      pairs.push_back({.key = "CHAP_C", .value = "0x0102030405060708"});
    }
    proof_said_ = true;
    say(flags, iscsi::encode_text(pairs));
  }

  void decide() {
    const unsigned word = input_.choice();
    over_ = true;
    if (word % 2 == 0) {
      check_answer(fsm_->refused(iscsi::LoginStatus::out_of_resources, "said so").pdu, true);
      return;
    }
    std::optional<CommandNumbers> numbers;
    if (tsih_ != 0) numbers = CommandNumbers{.expected = 5, .max = 20};
    const auto pdu = fsm_->admitted(tsih_ != 0 ? tsih_ : 3, numbers).pdu;
    check_answer(pdu, false);
    const auto response = iscsi::decode_login_response(Bytes(pdu).first<iscsi::bhs_bytes>());
    CHECK(response->transit && response->next == iscsi::Stage::full_feature && response->tsih != 0);
  }

  void ask() {
    const Bytes bytes = cut(input_.choice());
    const std::string_view word(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const SendTargetsAsker asker{.initiator = "iqn.x:i", .address = "10.0.0.9", .came_to = {.host = "10.0.0.1"}};
    const auto found = iscsi::parse_send_targets(answer_send_targets(word, *targets_, asker));
    CHECK(found.has_value() && found->size() <= 1);
    if (const auto prefix = parse_ip_prefix(word)) {
      CHECK(prefix->bits <= 128 && prefix->holds(prefix->address));
    }
  }

  void hear(const LoginFsm::Step& step, Bytes text) {
    if (const auto* need = std::get_if<LoginFsm::NeedData>(&step)) {
      CHECK(need->bytes <= iscsi::limits::data_segment_default);
      std::vector<std::byte> data(need->bytes);
      const Bytes source = text.empty() ? cut(need->bytes) : text;
      std::copy_n(source.begin(), std::min(source.size(), data.size()), data.begin());
      return hear_answer(fsm_->take(data));
    }
    CHECK(std::holds_alternative<LoginFsm::Refuse>(step) || std::holds_alternative<LoginFsm::HangUp>(step));
    hear_answer(step);
  }

  void hear_answer(const LoginFsm::Step& step) {
    CHECK(!std::holds_alternative<LoginFsm::NeedData>(step));
    if (const auto* sent = std::get_if<LoginFsm::Send>(&step)) check_answer(sent->pdu, false);
    if (const auto* refused = std::get_if<LoginFsm::Refuse>(&step)) check_answer(refused->pdu, true);
    over_ = std::holds_alternative<LoginFsm::Refuse>(step) || std::holds_alternative<LoginFsm::HangUp>(step);
    if (const auto* admit = std::get_if<LoginFsm::Admit>(&step)) check_admission(admit->admission);
  }

  void check_admission(const Admission& admission) {
    admitting_ = true;
    CHECK(!guarded_ || (proof_said_ && fsm_->authenticated()));
    CHECK(admission.user == (guarded_ ? "joe" : ""));
    CHECK(admission.discovery == (admission.target == nullptr));
    CHECK(iscsi::valid_iscsi_name(admission.initiator_name));
    const iscsi::Parameters& agreed = admission.parameters;
    CHECK(agreed.send_segment_max >= iscsi::limits::data_segment_min);
    CHECK(agreed.first_burst <= agreed.max_burst && agreed.max_burst >= 512);
    CHECK(agreed.max_connections >= 1 && agreed.max_connections <= 8 && agreed.error_recovery_level <= 1);
  }

  void check_answer(Bytes pdu, bool refused) {
    const auto response = iscsi::decode_login_response(pdu.first<iscsi::bhs_bytes>());
    CHECK(response.has_value());
    CHECK(pdu.size() == iscsi::bhs_bytes + iscsi::padded(response->data_length));
    CHECK(response->data_length <= iscsi::limits::data_segment_default);
    CHECK((response->status != iscsi::LoginStatus::success) == refused);
    const Bytes text = pdu.subspan(iscsi::bhs_bytes, response->data_length);
    text_.insert(text_.end(), text.begin(), text.end());
    CHECK(text_.size() <= iscsi::limits::login_text_bytes_max + iscsi::limits::data_segment_default);
    if (response->continued) return;
    if (refused) text_.assign(text.begin(), text.end());  // an answer before it may have broken off
    const auto pairs = iscsi::decode_text(text_);
    CHECK(pairs.has_value());
    if (!pairs->empty()) heard_ = *pairs;
    text_.clear();
  }

  std::string_view find(std::string_view key) const {
    const std::string* value = iscsi::find(heard_, key);
    return value == nullptr ? std::string_view() : std::string_view(*value);
  }

  static constexpr const char* secret = "the secret of joe";

  fuzz::Input input_;
  bool guarded_ = false;
  std::uint16_t tsih_ = 0;
  std::shared_ptr<const TargetsView> targets_;
  IssuedChallenges issued_;
  std::optional<LoginFsm> fsm_;
  std::vector<std::byte> text_;  // of an answer that is not whole yet
  iscsi::KeyValues heard_;       // the last answer that said something
  bool proof_said_ = false;      // the right response was among what was said
  bool admitting_ = false;
  bool over_ = false;
};

}  // namespace
}  // namespace mpath::target

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::target::Player({data, size}).play();
  return 0;
}
